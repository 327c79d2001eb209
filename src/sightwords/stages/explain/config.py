"""Options of `sightwords explain`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import cast

from cyclopts import Parameter

from sightwords.errors import ConfigError


@Parameter(name="*")
@dataclass
class ExplainConfig:
    """Show what a network says of images, and the descriptions of training images that they are nearest to."""

    run: Path
    """Folder of an aligned run."""
    images: list[Path]
    """Image files."""
    _: KW_ONLY
    embeddings: Path | None = None
    """Embedding set whose descriptions are compared. [default: the one that the run was taught by]"""
    descriptions: Path | None = None
    """Description set that holds their texts. [default: the one that the embedding set was made of]"""
    top: int = 5
    """Predictions and descriptions to show for each image."""
    out: Path | None = None
    """File for the result, .jsonl: a line for each image."""
    space: int = 1
    """Of a run taught by several embedding sets, the one to use: 1 for the first."""
    batch_size: int = 32
    """Images in a batch."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        given = cast("object", self.images)
        self.images = [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in self.images]
        self.run = Path(self.run)
        self.embeddings, self.descriptions, self.out = (
            Path(path) if path else None for path in (self.embeddings, self.descriptions, self.out)
        )
        if not self.images:
            raise ConfigError("No images given. Name one image file or several after the run.")
        if self.out is not None and self.out.suffix != ".jsonl":
            raise ConfigError(f"--out is {self.out}; it must end in .jsonl.")
        for name in ("top", "batch_size", "space"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1.")
