"""The images that a user has: where their bytes lie, their keys, their labels and their classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightwords.data.class_name import class_names
from sightwords.data.config import ImageSource
from sightwords.data.key import KeyCache, Member
from sightwords.data.randomness import derive_seed
from sightwords.data.sources import Listing, list_source
from sightwords.errors import DataError
from sightwords.progress import Progress


@dataclass(frozen=True)
class Problem:
    """An image that is left out, and why."""

    name: str
    reason: str


class ImageSet:
    """The readable images of one split in the order of their keys, in columns that worker processes share.

    Python objects per image would be copied into every worker by reference counting; Arrow columns are not.
    """

    def __init__(self, members: Sequence[Member], keys: Sequence[str], labels: Sequence[Sequence[int]]) -> None:
        order = sorted(range(len(keys)), key=lambda i: (keys[i], members[i].name))
        self._files = pa.array([members[i].file for i in order], pa.large_string())
        self._names = pa.array([members[i].name for i in order], pa.large_string())
        self._keys = pa.array([keys[i] for i in order], pa.large_string())
        self._offsets = np.array([members[i].offset for i in order], np.int64)
        self._sizes = np.array([members[i].size for i in order], np.int64)
        self._label_starts = np.cumsum([0] + [len(labels[i]) for i in order])
        self._labels = np.array([label for i in order for label in labels[i]], np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def member(self, index: int) -> Member:
        """Return where the bytes of image `index` lie."""
        offset, size = int(self._offsets[index]), int(self._sizes[index])
        return Member(self._files[index].as_py(), self._names[index].as_py(), offset, size)

    def key(self, index: int) -> str:
        """Return the key of image `index`, 64 hex digits."""
        return str(self._keys[index].as_py())

    def keys(self) -> list[str]:
        """Return all keys, in order."""
        return list(self._keys.to_pylist())

    def labels(self, index: int) -> np.ndarray:
        """Return the class indices of image `index`, int64, shape (L,); L = 1 for single-label data."""
        return self._labels[self._label_starts[index] : self._label_starts[index + 1]]

    @property
    def multi_label(self) -> bool:
        """Whether any image has no label, or several."""
        return bool((np.diff(self._label_starts) != 1).any())

    def first_labels(self) -> np.ndarray:
        """Return the first class index of every image, int64, shape (N,), -1 where an image has none."""
        starts, ends = self._label_starts[:-1], self._label_starts[1:]
        padded = np.append(self._labels, -1)
        return np.where(ends > starts, padded[np.minimum(starts, len(self._labels))], -1)

    def distinct_indices(self, others: Sequence[ImageSet] = ()) -> np.ndarray:
        """Return the index of the first image of every key that is in none of `others`, int64, in order."""
        if not len(self):
            return np.zeros(0, np.int64)
        new = np.ones(len(self), bool)
        new[1:] = pc.not_equal(self._keys[1:], self._keys[:-1]).to_numpy(zero_copy_only=False)
        for other in others:
            new &= ~pc.is_in(self._keys, value_set=other._keys).to_numpy(zero_copy_only=False)
        return np.flatnonzero(new)

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """Return the images at `indices` as a set of their own."""
        members = [self.member(i) for i in indices]
        return ImageSet(members, [self.key(i) for i in indices], [self.labels(i).tolist() for i in indices])

    def relabelled(self, labels: np.ndarray) -> ImageSet:
        """Return the same images with one label each, int64, shape (N,)."""
        copy = object.__new__(ImageSet)
        copy.__dict__.update(self.__dict__)
        copy._label_starts = np.arange(len(self) + 1)
        copy._labels = labels.astype(np.int64)
        return copy


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
        for name, listings in listed.items():
            sets[name] = _image_set(listings, positions, problems, progress)
            if config.limit is not None:
                sets[name] = sets[name].subset(stratified(sets[name], config.limit))
    if not any(len(images) for images in sets.values()):
        first = f"; the first: {problems[0].reason}" if problems else ""
        raise DataError(f"None of {len(problems)} images can be read{first}. Wanted splits: {', '.join(splits)}.")
    shared = set(sets["train"].keys()) & set(sets["val"].keys()) if {"train", "val"} <= sets.keys() else set()
    names = class_names(class_ids, config.classes)
    return Catalog(sets, class_ids, names, multi_label, problems, len(shared))


def stratified(images: ImageSet, limit: int, proportional: bool = False) -> list[int]:
    """Return the indices of at most `limit` images, the same number of each class as far as that goes.

    A function of the keys alone: a larger limit adds images and takes none away.

    Args:
        images: the images.
        limit: how many to take.
        proportional: take of each class its share instead, so that the sample stands for the whole.
    """
    labels = images.first_labels().tolist()
    sizes = Counter(labels)
    rounds: list[tuple[float, int, int]] = []
    seen: dict[int, int] = {}
    for index, label in enumerate(labels):
        seen[label] = seen.get(label, -1) + 1
        place = (seen[label] + 0.5) / sizes[label] if proportional else seen[label]
        rounds.append((place, label, index))
    return sorted(index for _, _, index in sorted(rounds)[:limit])


def hold_out(images: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Return a set in two parts: the rest, and the share of each class that is held out.

    A function of (seed, keys): images with the same bytes are on the same side.

    Raises:
        DataError: nothing would be held out, or nothing left.
    """
    by_class: dict[int, list[str]] = {}
    for label, key in dict.fromkeys(zip(images.first_labels().tolist(), images.keys(), strict=True)):
        by_class.setdefault(label, []).append(key)
    held: set[str] = set()
    for own in by_class.values():
        own.sort(key=lambda key: derive_seed("holdout", seed, key))
        held.update(own[: round(share * len(own))])
    keys = images.keys()
    sides = [key in held for key in keys]
    if not any(sides) or all(sides):
        raise DataError(f"Holding out {share:g} of {len(images)} images leaves a side empty. Choose another share.")
    kept = [index for index, is_held in enumerate(sides) if not is_held]
    return images.subset(kept), images.subset([index for index, is_held in enumerate(sides) if is_held])


def _listings(config: ImageSource, splits: Sequence[str]) -> dict[str, list[Listing]]:
    listed: dict[str, list[Listing]] = {}
    columns = (config.image_column, config.label_column)
    if config.images is not None:
        listed.update(list_source(config.images, None, *columns))
    for split, source in (("train", config.train), ("val", config.val)):
        if source is not None:
            listed[split] = list_source(source, split, *columns).get(split, [])
    return {split: listed[split] for split in splits if split in listed}


def _classes(listed: dict[str, list[Listing]]) -> tuple[list[str], bool]:
    """Return the sorted class ids (numbers by value) and whether any image has several."""
    every = [listing.labels for listings in listed.values() for listing in listings]
    ids = sorted({label for labels in every for label in labels}, key=_natural)
    if "train" in listed:
        trained = {label for listing in listed["train"] for label in listing.labels}
        unknown = [i for i in ids if i not in trained]
        if unknown and trained:
            raise DataError(
                f"Validation has classes that training lacks: {', '.join(unknown[:5])}. Remove or add them."
            )
    return ids, any(len(labels) > 1 for labels in every)


def _natural(class_id: str) -> tuple[int, int, str]:
    return (0, int(class_id), "") if class_id.isdecimal() else (1, 0, class_id)


def _image_set(
    listings: Sequence[Listing], positions: dict[str, int], problems: list[Problem], progress: Progress
) -> ImageSet:
    keys, reasons = KeyCache().keys([listing.member for listing in listings], progress.advance)
    reasons.update({i: listing.reason for i, listing in enumerate(listings) if listing.reason})
    problems.extend(Problem(listings[i].member.name, reason) for i, reason in sorted(reasons.items()))
    kept = list(_kept(listings, keys, reasons))
    labels = [[positions[label] for label in listing.labels] for listing, _ in kept]
    return ImageSet([listing.member for listing, _ in kept], [key for _, key in kept], labels)


def _kept(
    listings: Sequence[Listing], keys: Sequence[str | None], reasons: dict[int, str]
) -> Iterator[tuple[Listing, str]]:
    for i, (listing, key) in enumerate(zip(listings, keys, strict=True)):
        if key is not None and i not in reasons:
            yield listing, key
