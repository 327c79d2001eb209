"""Options of `sightwords audit` and `sightwords label`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sightwords.errors import ConfigError
from sightwords.images.config import FLAG, ImageOptions, ImagesConfig, check_range, default_workers, set_paths


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


@Parameter(name="*")
@dataclass
class LabelConfig(ImagesConfig):
    """Label images by their descriptions, the names of the classes and whatever labels there are."""

    _: KW_ONLY
    embeddings: Path
    """Embedding set of the images' descriptions."""
    out: Path = Path("labels.csv")
    """Table to write, .csv or .parquet; `train --labels` reads it. A page beside it, .html, shows the images."""
    descriptions: Path | None = None
    """Description set, for the page and for labels that people gave in `browse`. [default: the one that the embedding
    set was made of]"""
    class_texts: Path | None = None
    """Description set of the classes (`describe --per-class` or `--prompt class_features`): what it says of a class
    stands beside its name."""
    label_noise: float | Literal["auto"] = "auto"
    """Rate of wrong labels among those that are there; auto estimates it, 0 trusts every label."""
    ignore_labels: Annotated[bool, FLAG] = False
    """Use none of the labels that are there, and say how many of them come out."""
    other: Annotated[bool, FLAG] = False
    """Images may be of none of the classes."""
    suggest: int = 0
    """Number of images to suggest for a person to label next; `browse --label` shows them."""
    top: int = 100
    """Images that the page shows, the least certain first."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        set_paths(self, "embeddings out descriptions class_texts")
        check_range(self, "suggest top", least=0)
        if self.label_noise != "auto":
            check_range(self, "label_noise", least=0, below=1)
        if self.out.suffix.lower() not in (".csv", ".parquet"):
            raise ConfigError(f"--out is {self.out}; it must end in .csv or .parquet.")
