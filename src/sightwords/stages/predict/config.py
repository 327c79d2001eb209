"""Options of `sightwords predict`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, cast

from cyclopts import Parameter

from sightwords.data.config import default_workers
from sightwords.errors import ConfigError

ENDINGS = (".csv", ".jsonl")


@Parameter(name="*")
@dataclass
class PredictConfig:
    """Let a trained or exported network name what images show."""

    model: Path
    """A run's folder, or what `sightwords export` wrote: .safetensors (with its .json), .onnx, .pt2 or a hub folder."""
    images: Annotated[list[str], Parameter(negative="")]
    """Image files, folders of them, tables or tar shards."""
    _: KW_ONLY
    out: Path | None = None
    """File for all answers, .csv or .jsonl, one line an image. [default: only shown]"""
    top: int = 5
    """Classes to name for each image."""
    batch_size: int = 32
    """Images in a batch."""
    workers: int = field(default_factory=default_workers)
    """Loader processes."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        self.model, self.out = Path(self.model), Path(self.out) if self.out else None
        given = cast("object", self.images)
        self.images = [str(given)] if isinstance(given, str | Path) else [str(image) for image in self.images]
        if not self.images:
            raise ConfigError("No images given. Name image files or folders after the model.")
        for name, least in (("top", 1), ("batch_size", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least {least}.")
        if self.out is not None and self.out.suffix not in ENDINGS:
            raise ConfigError(f"--out is {self.out}; the file must end in {' or '.join(ENDINGS)}.")
