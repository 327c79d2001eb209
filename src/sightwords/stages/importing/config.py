"""Options of `sightwords import`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from sightwords.data.config import ImageOptions
from sightwords.errors import ConfigError


@dataclass
class _Source:
    # a base of its own: cyclopts takes a field as positional only where no keyword-only field stands before it
    source: Path
    """Table of descriptions (.csv, .tsv, .jsonl, .parquet), an exported description set, or a published list (.pt)."""


@Parameter(name="*")
@dataclass
class ImportConfig(ImageOptions, _Source):
    """Take over descriptions that exist already."""

    _: KW_ONLY
    images: str | None = None
    """Folder, CSV or Parquet table, or tar shards that hold the images of all splits."""
    out: Path
    """Description set to write; what is in it already stays, the same rows are replaced."""
    split: Literal["train", "val", "all"] = "all"
    """Images that the descriptions may belong to."""
    text_column: str | None = None
    """Column of SOURCE with the text, or a list of texts. [default: text, caption, description or captions]"""
    source_column: str | None = None
    """Column of SOURCE with the image's key, path, file name or bytes. [default: key, image, path or the like]"""
    prompt: str = "imported"
    """Name of the prompt that the texts are stored under, where SOURCE is no exported description set."""
    describer: str | None = None
    """Name of who wrote the texts, where SOURCE is no exported description set. [default: import:FILENAME]"""

    def __post_init__(self) -> None:
        self.source, self.out = Path(self.source), Path(self.out)
        if self.images is None and self.train is None and self.val is None:
            raise ConfigError("No images given. Name a folder, a table or tar shards with --images (or --train).")
        if self.split != "all" and self.images is None and getattr(self, self.split) is None:
            raise ConfigError(f"--split {self.split} needs a source of these images: --images or --{self.split}.")
        for flag, value in (("--prompt", self.prompt), ("--describer", self.describer)):
            if value is not None and not value.strip():
                raise ConfigError(f"{flag} is empty; give it a name.")
        super().__post_init__()

    @property
    def describer_name(self) -> str:
        """Who wrote the texts, as stored with each of them."""
        return self.describer or f"import:{self.source.name}"
