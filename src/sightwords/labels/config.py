"""Options of `sightwords audit`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from cyclopts import Parameter

from sightwords.images.config import ImageOptions, check_range, default_workers, set_paths


@dataclass
class _ImagesAndDescriptions:
    # a base of its own: cyclopts takes a field as positional only where no keyword-only field stands before it
    images: str | None
    """Folder, table, or tar shards that hold the labeled images; all splits are audited."""
    descriptions: Path
    """Description set of these images."""


@Parameter(name="*")
@dataclass
class AuditConfig(ImageOptions, _ImagesAndDescriptions):
    """Find images whose description contradicts their label."""

    _: KW_ONLY
    embeddings: Path
    """Embedding set of the descriptions."""
    out: Path = Path("audit")
    """Folder for audit.csv, which has all images, and audit.html, which shows the first ones."""
    run: Path | None = None
    """Trained run whose image features count too. Labels that it was trained on and learned by heart look right to it,
    so it is one score of three."""
    top: int = 100
    """Images that the page shows."""
    folds: int = 10
    """Parts of the data; each is scored by classifiers fitted to the others."""
    seed: int = 0
    """Seed of the parts."""
    batch_size: int = 128
    """Images in a batch, with --run."""
    workers: int = field(default_factory=default_workers)
    """Loader processes, with --run."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        set_paths(self, "descriptions embeddings out run")
        check_range(self, "top workers", least=0)
        check_range(self, "batch_size", least=1)
        check_range(self, "folds", least=2)
