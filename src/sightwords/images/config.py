"""Options about images that several commands share: where they are, how labels are read, how they are varied."""

# no `from __future__ import annotations`: cyclopts would look up the names of inherited options in the module of the
# class that inherits them
import os
from dataclasses import KW_ONLY, dataclass
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter

from sightwords.errors import ConfigError

# groups of options in `--help`; those of "Advanced" are shown by `--help-all` alone
DATA, NETWORK, RECIPE, TEXT, LABELS, RUN, ADVANCED = (
    Parameter(group=Group(name, sort_key=number))
    for number, name in enumerate(("Data", "Network", "Recipe", "Text", "Labels", "Run", "Advanced"))
)

FLAG = Parameter(negative="")  # of an option that is on or off

# options that make a training set harder, of the same names in `subset.make_subset`, `train` and `compare`
SUBSET_OPTIONS = ("train_fraction", "long_tail", "label_noise", "label_fraction")


def default_workers() -> int:
    """Return the number of loader processes where none is given: one a core, at most 4."""
    return min(4, os.cpu_count() or 1)


def check_range(
    config: object,
    names: str,
    prefix: str = "--",
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Raise ConfigError unless each of the options, separated by spaces, is None or lies in the range.

    `least` and `most` are allowed themselves, `above` and `below` are not. The `prefix` is that of the options' flags.
    """
    bounds = (("at least", least, ge), ("above", above, gt), ("at most", most, le), ("below", below, lt))
    given = [(words, bound, fits) for words, bound, fits in bounds if bound is not None]
    allowed = " and ".join(f"{words} {bound:g}" for words, bound, _ in given)
    for name in names.split():
        value = getattr(config, name)
        if value is not None and not all(fits(value, bound) for _, bound, fits in given):
            raise ConfigError(f"{prefix}{name.replace('_', '-')} is {value}; it must be {allowed}.")


def set_paths(config: object, names: str) -> None:
    """Make a Path of each of the options, separated by spaces, that was given, and None of each that was not."""
    for name in names.split():
        value = getattr(config, name)
        setattr(config, name, Path(value) if value else None)


def check_choices(config: object) -> None:
    """Raise ConfigError unless each option whose type is a `Literal` has one of its values."""
    for name, kind in get_type_hints(type(config)).items():
        if get_origin(kind) is Literal and (value := getattr(config, name)) not in get_args(kind):
            *others, last = get_args(kind)
            raise ConfigError(f"--{name.replace('_', '-')} is {value!r}; it must be {', '.join(others)} or {last}.")


@dataclass
class ImageOptions:
    """The options beside IMAGES; each command places IMAGES itself on its command line.

    A source is a folder (`train/CLASS/*.jpg` and `val/CLASS/*.jpg`), a CSV or Parquet table
    (`image,label,split`), a folder of Parquet files as published on the Hugging Face hub, or WebDataset tar shards
    (a folder, or a pattern such as `train-{000..009}.tar`).
    """

    _: KW_ONLY
    train: Annotated[str | None, DATA] = None
    """Source of the training images where it is not inside IMAGES."""
    val: Annotated[str | None, DATA] = None
    """Source of the validation images where it is not inside IMAGES."""
    classes: Annotated[Path | None, DATA] = None
    """Table of readable class names (CSV `id,name`, JSON object, or lines `id name`); ImageNet ids are known."""
    image_column: Annotated[str | None, ADVANCED] = None
    """Column of a table that holds the image's path or bytes. [default: image, img, path or file]"""
    label_column: Annotated[str | None, ADVANCED] = None
    """Column of a table that holds the label; several labels are separated by `|`. [default: label or the like]"""
    limit: Annotated[int | None, ADVANCED] = None
    """Use only this many images of each split, the same share of every class."""

    def __post_init__(self) -> None:
        if getattr(self, "images", None) is None and self.train is None and self.val is None:
            raise ConfigError("No images given. Name a folder, a table or tar shards as IMAGES, or use --train.")
        set_paths(self, "classes")
        check_range(self, "limit", least=1)


@dataclass
class _Images:
    # a base of its own: cyclopts takes a field as positional only where no keyword-only field stands before it
    images: Annotated[str | None, DATA] = None
    """Folder, CSV or Parquet table, or tar shards that hold the images of all splits."""


@dataclass
class ImagesConfig(ImageOptions, _Images):
    """The options of a command whose first argument is IMAGES."""


@dataclass
class AugmentConfig:
    """How training images are varied."""

    crop_scale: float = 0.08
    """Smallest share of the image's area that a random crop keeps; 1 keeps all of it."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    randaugment: Annotated[int, RECIPE] = 0
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
    mixup: Annotated[float, RECIPE] = 0.0
    """Alpha of mixup's Beta distribution; 0 is off. Text targets are mixed with the same partner and lambda."""
    cutmix: Annotated[float, RECIPE] = 0.0
    """Alpha of cutmix's Beta distribution; 0 is off. With mixup too, each step draws one of the two."""

    def __post_init__(self) -> None:
        check_range(self, "flip erase", "--augment.", least=0, most=1)
        check_range(self, "crop_scale", "--augment.", above=0, most=1)
        check_range(self, "magnitude", "--augment.", least=0, most=30)
        check_range(self, "repeats", "--augment.", least=1)
        check_range(self, "mixup cutmix color_jitter randaugment magnitude_std", "--augment.", least=0)
