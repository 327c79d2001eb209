"""Options of `sightwords search`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, cast

from cyclopts import Parameter

from sightwords.errors import ConfigError
from sightwords.images.config import ImageOptions, default_workers


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
