"""Options of `sightwords evaluate`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sightwords.data.config import ImageOptions, default_workers
from sightwords.errors import ConfigError


@dataclass
class _RunAndImages:
    # a base of its own: cyclopts takes a field as positional only where no keyword-only field stands before it
    run: Path
    """Folder of the run."""
    images: str | None = None
    """Folder, table, or tar shards that hold the images; the val split is measured."""


@Parameter(name="*")
@dataclass
class EvaluateConfig(ImageOptions, _RunAndImages):
    """Measure a trained network on validation images."""

    _: KW_ONLY
    out: Path | None = None
    """Folder for the figures. [default: RUN/evaluation]"""
    knn: int = 0
    """Also classify by this many nearest training images in the pooled features; 0 does not."""
    probe: Annotated[bool, Parameter(negative="")] = False
    """Also fit a linear classifier to the pooled features of the training images."""
    corruptions: Annotated[bool, Parameter(negative="")] = False
    """Also measure top-1 under eight corruptions (noise, blur, JPEG ...) at five severities."""
    transfer: str | None = None
    """Also fit a linear classifier to the features of this second data set's train split; its val is measured."""
    batch_size: int = 128
    """Images in a batch."""
    workers: int = field(default_factory=default_workers)
    """Loader processes."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.run, self.out = Path(self.run), Path(self.out) if self.out else None
        for name in ("batch_size", "knn", "workers"):
            if getattr(self, name) < (name == "batch_size"):
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it is too small.")
