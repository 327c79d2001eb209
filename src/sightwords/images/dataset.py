"""The images of one split: where their bytes lie, their keys and their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightwords.errors import DataError
from sightwords.images.class_names import class_names
from sightwords.images.config import ImageSource
from sightwords.images.keys import KEY_BYTES, KeyCache
from sightwords.images.list_array import Ragged
from sightwords.images.member import Member
from sightwords.images.readers import Listing, list_source
from sightwords.images.references import Places
from sightwords.images.subset import stratified
from sightwords.progress import Progress


class Split:
    """The readable images of one split in the order of their keys, in columns that worker processes share.

    Python objects per image would be copied into every worker by reference counting; columns are not.
    """

    def __init__(self, members: Sequence[Member], keys: Sequence[str], labels: Sequence[Sequence[int]]) -> None:
        key_bytes = np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, KEY_BYTES)
        self._sort(Places.of(members), key_bytes, Ragged.of(labels), np.arange(len(keys)))

    @classmethod
    def of_columns(cls, places: Places, keys: np.ndarray, labels: Ragged, indices: np.ndarray) -> Split:
        """Return the images at `indices` of the columns.

        Args:
            places: where the bytes of N images lie.
            keys: their keys in bytes, uint8, shape (N, 32).
            labels: their class indices, N rows.
            indices: those of them that make the set, int64, in any order.
        """
        images = object.__new__(cls)
        images._sort(places, keys, labels, indices)
        return images

    def _sort(self, places: Places, keys: np.ndarray, labels: Ragged, indices: np.ndarray) -> None:
        order = _key_order(places, keys, indices)
        self._places, self._keys, self._labels = places.take(order), keys.take(order, axis=0), labels.take(order)

    def __len__(self) -> int:
        return len(self._keys)

    def member(self, index: int) -> Member:
        """Return where the bytes of image `index` lie."""
        return self._places.member(index)

    def key(self, index: int) -> str:
        """Return the key of image `index`, 64 hex digits."""
        return str(self._keys[index].tobytes().hex())

    def keys(self) -> list[str]:
        """Return all keys, in order."""
        return str(self._keys.tobytes().hex(" ", KEY_BYTES)).split()

    @property
    def key_bytes(self) -> np.ndarray:
        """All keys in bytes, in order, uint8, shape (N, 32)."""
        return self._keys

    def labels(self, index: int) -> np.ndarray:
        """Return the class indices of image `index`, int64, shape (L,); L = 1 for single-label data."""
        return self._labels[index]

    @property
    def multi_label(self) -> bool:
        """Whether any image has no label, or several."""
        return bool((self._labels.lengths != 1).any())

    def first_labels(self) -> np.ndarray:
        """Return the first class index of every image, int64, shape (N,), -1 where an image has none."""
        starts, values = self._labels.starts[:-1], self._labels.values
        return np.where(self._labels.lengths > 0, np.append(values, -1)[np.minimum(starts, len(values))], -1)

    def distinct_indices(self, others: Sequence[Split] = ()) -> np.ndarray:
        """Return the index of the first image of every key that is in none of `others`, int64, in order."""
        new = np.ones(len(self), bool)
        new[1:] = (self._keys[1:] != self._keys[:-1]).any(axis=1)
        own = _arrow(self._keys)
        for other in others:
            new &= ~pc.is_in(own, value_set=_arrow(other._keys)).to_numpy(zero_copy_only=False)
        return np.flatnonzero(new)

    def subset(self, indices: Sequence[int]) -> Split:
        """Return the images at `indices` as a set of their own."""
        return Split.of_columns(self._places, self._keys, self._labels, np.asarray(indices, np.int64))

    def relabeled(self, labels: np.ndarray) -> Split:
        """Return the same images with one label each, int64, shape (N,); -1 where an image has none."""
        known = labels >= 0
        return self._with(Ragged(labels[known].astype(np.int64), np.concatenate(([0], np.cumsum(known)))))

    def unlabeled(self) -> Split:
        """Return the same images without labels."""
        return self.relabeled(np.full(len(self), -1))

    def _with(self, labels: Ragged) -> Split:
        copy = object.__new__(Split)
        copy.__dict__.update(self.__dict__)
        copy._labels = labels
        return copy


def _key_order(places: Places, keys: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return `indices` sorted by key, then name: by the keys' first 8 bytes, and what these leave open one by one."""
    heads = np.ascontiguousarray(keys[indices, :8]).view(">u8").ravel().astype(np.uint64)
    order = np.argsort(heads)
    tied = np.diff(heads[order]) == 0
    edges = np.flatnonzero(np.diff(np.concatenate(([False], tied, [False])).astype(np.int8)))
    order = indices[order]
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        tie = order[start : end + 1].tolist()
        order[start : end + 1] = sorted(tie, key=lambda i: (keys[i].tobytes(), places.name(i), i))
    return order


def _arrow(keys: np.ndarray) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(KEY_BYTES), len(keys), [None, pa.py_buffer(keys)])


def locate(splits: Mapping[str, Split], position: int) -> tuple[str, Split, int]:
    """Return split, its images and the place among them of an image of all splits, laid end to end.

    Raises:
        IndexError: there are fewer images.
    """
    for name, images in splits.items():
        if position < len(images):
            return name, images, position
        position -= len(images)
    raise IndexError("the position is behind the last image")


@dataclass(frozen=True)
class Problem:
    """An image that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """All splits of a user's images.

    Attributes:
        splits: split name to its images.
        class_ids: class ids as the data has them (folder names, numbers), sorted; the class index is the position.
        class_names: readable names, same order.
        multi_label: whether any image has several labels.
        problems: images left out, with reasons.
        num_shared: images of the validation split whose key is in the training split too.
    """

    splits: dict[str, Split]
    class_ids: list[str]
    class_names: list[str]
    multi_label: bool
    problems: list[Problem] = field(default_factory=list)
    num_shared: int = 0

    def split(self, name: str) -> Split:
        """Return a split.

        Raises:
            DataError: there is none of that name.
        """
        if name not in self.splits or not len(self.splits[name]):
            known = ", ".join(f"{n} ({len(s)} images)" for n, s in self.splits.items()) or "none"
            raise DataError(f"There are no {name} images. Splits found: {known}. Name a source with --{name}.")
        return self.splits[name]


def open_dataset(config: ImageSource, splits: Sequence[str] = ("train", "val"), show: bool = True) -> Dataset:
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
    sets: dict[str, Split] = {}
    with Progress("Indexing", sum(map(len, listed.values())), "images", enabled=show) as progress:
        for name, listing in listed.items():
            sets[name] = _image_set(listing, positions, problems, progress)
            if config.limit is not None:
                sets[name] = sets[name].subset(stratified(sets[name], config.limit))
    if not any(len(images) for images in sets.values()):
        first = f"; the first: {problems[0].reason}" if problems else ""
        raise DataError(f"None of {len(problems)} images can be read{first}. Wanted splits: {', '.join(splits)}.")
    names = class_names(class_ids, config.classes)
    return Dataset(sets, class_ids, names, multi_label, problems, _num_shared(sets))


def _num_shared(sets: dict[str, Split]) -> int:
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


def _image_set(listing: Listing, positions: dict[str, int], problems: list[Problem], progress: Progress) -> Split:
    keys, reasons = KeyCache().find(listing.places, listing.stamps, progress.advance)
    reasons |= listing.reasons
    problems.extend(Problem(listing.places.name(i), reason) for i, reason in sorted(reasons.items()))
    classes = np.array([positions[class_id] for class_id in listing.class_ids], np.int64)
    labels = Ragged(classes[listing.labels.values], listing.labels.starts)
    readable = np.ones(len(listing), bool)
    readable[list(reasons)] = False
    return Split.of_columns(listing.places, keys, labels, np.flatnonzero(readable))
