"""The images that a user has: their splits and their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sightwords.data.class_name import class_names
from sightwords.data.config import ImageSource
from sightwords.data.image_set import ImageSet
from sightwords.data.key_cache import KeyCache
from sightwords.data.ragged import Ragged
from sightwords.data.sample import stratified
from sightwords.data.sources import Listing, list_source
from sightwords.errors import DataError
from sightwords.progress import Progress


@dataclass(frozen=True)
class Problem:
    """An image that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Catalog:
    """All splits of a user's images.

    Attributes:
        splits: split name to its images.
        class_ids: class ids as the data has them (folder names, numbers), sorted; the class index is the position.
        class_names: readable names, same order.
        multi_label: whether any image has several labels.
        problems: images left out, with reasons.
        num_shared: images of the validation split whose key is in the training split too.
    """

    splits: dict[str, ImageSet]
    class_ids: list[str]
    class_names: list[str]
    multi_label: bool
    problems: list[Problem] = field(default_factory=list)
    num_shared: int = 0

    def split(self, name: str) -> ImageSet:
        """Return a split.

        Raises:
            DataError: there is none of that name.
        """
        if name not in self.splits or not len(self.splits[name]):
            known = ", ".join(f"{n} ({len(s)} images)" for n, s in self.splits.items()) or "none"
            raise DataError(f"There are no {name} images. Splits found: {known}. Name a source with --{name}.")
        return self.splits[name]


def open_catalog(config: ImageSource, splits: Sequence[str] = ("train", "val"), show: bool = True) -> Catalog:
    """List the images of the wanted splits, with keys.

    Args:
        config: where the images are.
        splits: the splits that the caller needs; others are not read.
        show: whether to show progress.

    Raises:
        DataError: a source is of no known layout, or no image can be read.
    """
    listed = _listings(config, splits)
    class_ids, multi_label = _classes(listed)
    positions = {class_id: i for i, class_id in enumerate(class_ids)}
    problems: list[Problem] = []
    sets: dict[str, ImageSet] = {}
    with Progress("Indexing", sum(map(len, listed.values())), "images", enabled=show) as progress:
        for name, listing in listed.items():
            sets[name] = _image_set(listing, positions, problems, progress)
            if config.limit is not None:
                sets[name] = sets[name].subset(stratified(sets[name], config.limit))
    if not any(len(images) for images in sets.values()):
        first = f"; the first: {problems[0].reason}" if problems else ""
        raise DataError(f"None of {len(problems)} images can be read{first}. Wanted splits: {', '.join(splits)}.")
    names = class_names(class_ids, config.classes)
    return Catalog(sets, class_ids, names, multi_label, problems, _num_shared(sets))


def _num_shared(sets: dict[str, ImageSet]) -> int:
    """Return the number of keys that training and validation have in common."""
    if not {"train", "val"} <= sets.keys():
        return 0
    return len(sets["val"].distinct_indices()) - len(sets["val"].distinct_indices([sets["train"]]))


def _listings(config: ImageSource, splits: Sequence[str]) -> dict[str, Listing]:
    listed: dict[str, Listing] = {}
    columns = (config.image_column, config.label_column)
    if config.images is not None:
        listed.update(list_source(config.images, None, *columns))
    for split, source in (("train", config.train), ("val", config.val)):
        if source is not None:
            found = list_source(source, split, *columns)
            listed[split] = found[split] if split in found else Listing.of([])
    return {split: listed[split] for split in splits if split in listed}


def _classes(listed: dict[str, Listing]) -> tuple[list[str], bool]:
    """Return the sorted class ids (numbers by value) and whether any image has several."""
    ids = sorted({class_id for listing in listed.values() for class_id in listing.class_ids}, key=_natural)
    if "train" in listed:
        trained = set(listed["train"].class_ids)
        unknown = [i for i in ids if i not in trained]
        if unknown and trained:
            raise DataError(
                f"Validation has classes that training lacks: {', '.join(unknown[:5])}. Remove or add them."
            )
    return ids, any(bool((listing.labels.lengths > 1).any()) for listing in listed.values())


def _natural(class_id: str) -> tuple[int, int, str]:
    return (0, int(class_id), "") if class_id.isdecimal() else (1, 0, class_id)


def _image_set(listing: Listing, positions: dict[str, int], problems: list[Problem], progress: Progress) -> ImageSet:
    keys, reasons = KeyCache().find(listing.places, listing.stamps, progress.advance)
    reasons |= listing.reasons
    problems.extend(Problem(listing.places.name(i), reason) for i, reason in sorted(reasons.items()))
    classes = np.array([positions[class_id] for class_id in listing.class_ids], np.int64)
    labels = Ragged(classes[listing.labels.values], listing.labels.starts)
    readable = np.ones(len(listing), bool)
    readable[list(reasons)] = False
    return ImageSet.of_columns(listing.places, keys, labels, np.flatnonzero(readable))
