"""Options of `sightwords search`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from cyclopts import Parameter

from sightwords.data.config import ImageOptions, default_workers
from sightwords.errors import ConfigError


@dataclass
class _RunImagesSentence:
    # a base of its own: cyclopts takes a field as positional only where no keyword-only field stands before it
    run: Path
    """Folder of an aligned run."""
    images: str | None
    """Folder, table, or tar shards that hold the images to search; all splits, labels are not needed."""
    sentence: str
    """What to search for: "a bird with a red crest"."""


@Parameter(name="*")
@dataclass
class SearchConfig(ImageOptions, _RunImagesSentence):
    """Rank images by a sentence, with the network of a run and the projector that it was taught through."""

    _: KW_ONLY
    top: int = 20
    """Images to return, the best first."""
    out: Path | None = None
    """File for the result, .csv or .jsonl."""
    page: Path | None = None
    """HTML file that shows the images found; it needs no other file."""
    index: Path | None = None
    """Folder where the images' vectors are kept for the next search. [default: RUN/search/SPACE]"""
    space: int = 1
    """Of a run taught by several embedding sets, the one whose space is searched: 1 for the first."""
    batch_size: int = 128
    """Images in a batch."""
    workers: int = field(default_factory=default_workers)
    """Loader processes."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.run = Path(self.run)
        self.out, self.page, self.index = (Path(p) if p else None for p in (self.out, self.page, self.index))
        if self.out is not None and self.out.suffix not in (".csv", ".jsonl"):
            raise ConfigError(f"--out is {self.out}; it must end in .csv or .jsonl.")
        for name, least in (("top", 1), ("batch_size", 1), ("workers", 0), ("space", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least {least}.")
