"""Options about images that several stages share: where they are, how labels are read, how they are varied."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Protocol

from sightwords.errors import ConfigError

# options that make a training set harder, of the same names in `subset.make_subset`, `train` and `compare`
SUBSET_OPTIONS = ("train_fraction", "long_tail", "label_noise", "label_fraction")


def default_workers() -> int:
    """Return the number of loader processes where none is given: one a core, at most 4."""
    return min(4, os.cpu_count() or 1)


class ImageSource(Protocol):
    """What `open_dataset` reads of a stage's configuration; the fields are documented at `ImageOptions`."""

    images: str | None
    train: str | None
    val: str | None
    classes: Path | None
    image_column: str | None
    label_column: str | None
    limit: int | None


@dataclass
class ImageOptions:
    """The options beside IMAGES; each stage places IMAGES itself on its command line.

    A source is a folder (`train/CLASS/*.jpg` and `val/CLASS/*.jpg`), a CSV or Parquet table
    (`image,label,split`), a folder of Parquet files as published on the Hugging Face hub, or WebDataset tar shards
    (a folder, or a pattern such as `train-{000..009}.tar`).
    """

    _: KW_ONLY
    train: str | None = None
    """Source of the training images where it is not inside IMAGES."""
    val: str | None = None
    """Source of the validation images where it is not inside IMAGES."""
    classes: Path | None = None
    """Table of readable class names (CSV `id,name`, JSON object, or lines `id name`); ImageNet ids are known."""
    image_column: str | None = None
    """Column of a table that holds the image's path or bytes. [default: image, img, path or file]"""
    label_column: str | None = None
    """Column of a table that holds the label; several labels are separated by `|`. [default: label or the like]"""
    limit: int | None = None
    """Use only this many images of each split, the same share of every class."""

    def __post_init__(self) -> None:
        if getattr(self, "images", None) is None and self.train is None and self.val is None:
            raise ConfigError("No images given. Name a folder, a table or tar shards as IMAGES, or use --train.")
        self.classes = Path(self.classes) if self.classes else None
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit is {self.limit}; it must be at least 1 image.")


@dataclass
class _Images:
    # a base of its own: cyclopts takes a field as positional only where no keyword-only field stands before it
    images: str | None = None
    """Folder, CSV or Parquet table, or tar shards that hold the images of all splits."""


@dataclass
class ImagesConfig(ImageOptions, _Images):
    """The options of a stage whose first argument is IMAGES."""


@dataclass
class AugmentConfig:
    """How training images are varied."""

    crop_scale: float = 0.08
    """Smallest share of the image's area that a random crop keeps; 1 keeps all of it."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    randaugment: int = 0
    """Number of RandAugment operations on each image; 0 is off."""
    magnitude: int = 9
    """Strength of the RandAugment operations, 0 to 30."""
    magnitude_std: float = 0.0
    """Standard deviation of that strength, drawn anew for each operation."""
    repeats: int = 1
    """Times that an image comes in a global batch, augmented differently (repeated augmentation, arXiv 1902.05509)."""
    color_jitter: float = 0.0
    """Strength of brightness, contrast and saturation jitter; 0.4 changes each by up to 40 %."""
    erase: float = 0.0
    """Probability of erasing a random rectangle."""
    mixup: float = 0.0
    """Alpha of mixup's Beta distribution; 0 is off. Text targets are mixed with the same partner and share."""
    cutmix: float = 0.0
    """Alpha of cutmix's Beta distribution; 0 is off. With mixup too, each step draws one of the two."""

    def __post_init__(self) -> None:
        for name in ("flip", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"--augment.{name} is {getattr(self, name)}; it must be between 0 and 1.")
        if not 0 < self.crop_scale <= 1:
            raise ConfigError(f"--augment.crop-scale is {self.crop_scale}; it must be above 0 and at most 1.")
        if not 0 <= self.magnitude <= 30:
            raise ConfigError(f"--augment.magnitude is {self.magnitude}; it must be from 0 to 30.")
        if self.repeats < 1:
            raise ConfigError(f"--augment.repeats is {self.repeats}; it must be at least 1.")
        for name in ("mixup", "cutmix", "color_jitter", "randaugment", "magnitude_std"):
            if getattr(self, name) < 0:
                raise ConfigError(f"--augment.{name.replace('_', '-')} must not be negative.")
