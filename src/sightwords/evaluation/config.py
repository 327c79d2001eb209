"""Options of `sightwords evaluate`, `predict`, `search` and `explain`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, cast

from cyclopts import Parameter

from sightwords.errors import ConfigError
from sightwords.images.config import ImageOptions, check_range, default_workers, set_paths

TABLE_SUFFIXES = (".csv", ".jsonl")


@dataclass
class _InferenceOptions:
    _: KW_ONLY
    batch_size: int = 64
    """Images in a batch."""
    workers: int = field(default_factory=default_workers)
    """Loader processes; 0 loads in the main one."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""

    def _check_inference(self) -> None:
        check_range(self, "batch_size", least=1)
        check_range(self, "workers", least=0)


def _check_suffix(out: Path | None, suffixes: tuple[str, ...] = TABLE_SUFFIXES) -> None:
    if out is not None and out.suffix not in suffixes:
        raise ConfigError(f"--out is {out}; it must end in {' or '.join(suffixes)}.")


@dataclass
class _RunAndImages:
    # a base of its own: cyclopts takes a field as positional only where no keyword-only field stands before it
    run: Path
    """Folder of the run."""
    images: str | None = None
    """Folder, table, or tar shards that hold the images; the val split is measured."""


@Parameter(name="*")
@dataclass
class EvaluateConfig(_InferenceOptions, ImageOptions, _RunAndImages):
    """Measure a trained network on validation images."""

    _: KW_ONLY
    out: Path | None = None
    """Folder for the results. [default: RUN/evaluation]"""
    knn: int = 0
    """Also classify by this many nearest training images in the pooled features; 0 does not."""
    probe: Annotated[bool, Parameter(negative="")] = False
    """Also fit a linear classifier to the pooled features of the training images."""
    corruptions: Annotated[bool, Parameter(negative="")] = False
    """Also measure top-1 under eight corruptions (noise, blur, JPEG ...) at five severities."""
    transfer: str | None = None
    """Also fit a linear classifier to the features of this second dataset's train split, and measure it on its val."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_inference()
        check_range(self, "knn", least=0)
        set_paths(self, "run out")


@dataclass
class _ModelAndImages:
    model: Path
    """A run's folder, or what `sightwords export` wrote: .safetensors (with its .json), .onnx, .pt2 or a hub folder."""
    images: Annotated[list[str], Parameter(negative="")]
    """Image files, folders of them, tables or tar shards."""


@Parameter(name="*")
@dataclass
class PredictConfig(_InferenceOptions, _ModelAndImages):
    """Classify images with a trained or exported network."""

    _: KW_ONLY
    out: Path | None = None
    """File for all predictions, .csv or .jsonl, one line an image. [default: only shown]"""
    top: int = 5
    """Classes to name for each image."""

    def __post_init__(self) -> None:
        self._check_inference()
        check_range(self, "top", least=1)
        set_paths(self, "model out")
        self.images = _listed(self.images)
        _check_suffix(self.out)


def _listed(images: object) -> list[str]:
    """Return images as a list of names: in Python, one alone need not be in a list."""
    listed = [images] if isinstance(images, str | Path) else cast("list[object]", images)
    if not listed:
        raise ConfigError("No images given. Name image files after the run or model.")
    return [str(one) for one in listed]


@dataclass
class _RunImagesSentence:
    run: Path
    """Folder of an aligned run."""
    images: str | None
    """Folder, table, or tar shards that hold the images to search; all splits, labels are not needed."""
    sentence: str
    """What to search for: "a bird with a red crest"."""


@Parameter(name="*")
@dataclass
class SearchConfig(_InferenceOptions, ImageOptions, _RunImagesSentence):
    """Rank images by a sentence, with the network and the projector of a run."""

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
    """Of a run trained with several embedding sets, the one whose space is searched: 1 for the first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_inference()
        check_range(self, "top space", least=1)
        set_paths(self, "run out page index")
        _check_suffix(self.out)


@dataclass
class _RunAndImageFiles:
    run: Path
    """Folder of an aligned run."""
    images: list[str]
    """Image files."""


@Parameter(name="*")
@dataclass
class ExplainConfig(_InferenceOptions, _RunAndImageFiles):
    """Show what a network predicts for images, and the training descriptions that lie nearest to them."""

    _: KW_ONLY
    embeddings: Path | None = None
    """Embedding set whose descriptions are compared. [default: the one that the run was trained with]"""
    descriptions: Path | None = None
    """Description set that holds their texts. [default: the one that the embedding set was made of]"""
    top: int = 5
    """Predictions and descriptions to show for each image."""
    out: Path | None = None
    """File for the result, .jsonl: a line for each image."""
    space: int = 1
    """Of a run trained with several embedding sets, the one to use: 1 for the first."""

    def __post_init__(self) -> None:
        self._check_inference()
        check_range(self, "top space", least=1)
        self.images = _listed(self.images)
        set_paths(self, "run embeddings descriptions out")
        _check_suffix(self.out, (".jsonl",))
