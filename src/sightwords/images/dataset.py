"""The user's images: the splits of a data set, with the images' keys, labels and class names."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightwords.errors import DataError
from sightwords.images.config import ImageOptions
from sightwords.images.keys import KEY_BYTES, KeyCache
from sightwords.images.readers import Listing, list_source
from sightwords.images.references import ImageReference, ImageReferences
from sightwords.images.subset import stratified
from sightwords.progress import Progress

_SYNSET = re.compile(r"n\d{8}")
_LINE = re.compile(r"(n\d{8}|\d+)\s+\S")  # of a class table: id and name


class Split:
    """The readable images of one split in the order of their keys, in columns that worker processes share.

    Args:
        references: where the bytes of N images lie.
        keys: their keys in bytes, uint8, shape (N, 32).
        labels: their class indices, list<int64>, N rows.
        indices: those of them that make the split, int64, in any order; all by default.
    """

    def __init__(
        self, references: ImageReferences, keys: np.ndarray, labels: pa.ListArray, indices: np.ndarray | None = None
    ) -> None:
        order = _key_order(references, keys, np.arange(len(keys)) if indices is None else indices)
        self._references, self._keys = references.take(order), keys.take(order, axis=0)
        self._labels: pa.ListArray = labels.take(pa.array(order))

    @classmethod
    def of(cls, references: Sequence[ImageReference], keys: Sequence[str], labels: Sequence[Sequence[int]]) -> Split:
        """Return the split of N images: their references, keys in hex, and `labels` (class indices of each)."""
        key_bytes = np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, KEY_BYTES)
        return cls(ImageReferences.of(references), key_bytes, pa.array(labels, pa.list_(pa.int64())))

    def __len__(self) -> int:
        return len(self._keys)

    def reference(self, index: int) -> ImageReference:
        """Return where the bytes of image `index` lie."""
        return self._references[index]

    def key(self, index: int) -> str:
        """Return the key of image `index`, 64 hex digits."""
        return str(self._keys[index].tobytes().hex())

    def keys(self) -> list[str]:
        """Return all N keys, in order, 64 hex digits each."""
        return str(self._keys.tobytes().hex(" ", KEY_BYTES)).split()

    @property
    def key_bytes(self) -> np.ndarray:
        """All keys in bytes, in order, uint8, shape (N, 32)."""
        return self._keys

    def labels(self, index: int) -> np.ndarray:
        """Return the class indices of image `index`, int64, shape (L,); L = 1 for single-label data."""
        return np.asarray(self._labels[index].values.to_numpy())

    @property
    def multi_label(self) -> bool:
        """Whether any image has no label, or several."""
        return bool(pc.any(pc.not_equal(self._labels.value_lengths(), 1)).as_py())

    def first_labels(self) -> np.ndarray:
        """Return the first class index of every image, int64, shape (N,), -1 where an image has none."""
        starts, values = self._labels.offsets.to_numpy(), np.append(self._labels.values.to_numpy(), -1)
        return np.where(np.diff(starts) > 0, values[starts[:-1]], -1)

    def distinct_indices(self, others: Sequence[Split] = ()) -> np.ndarray:
        """Return the index of the first image of every key that is in none of `others`, int64, in order."""
        new = np.ones(len(self), bool)
        new[1:] = (self._keys[1:] != self._keys[:-1]).any(axis=1)
        own = _arrow(self._keys)
        for other in others:
            new &= ~pc.is_in(own, value_set=_arrow(other._keys)).to_numpy(zero_copy_only=False)
        return np.flatnonzero(new)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Split:
        """Return the images at `indices`, int64, shape (M,), as a split of their own."""
        return Split(self._references, self._keys, self._labels, np.asarray(indices, np.int64))

    def relabeled(self, labels: np.ndarray) -> Split:
        """Return the same images with one label each; `labels` is int64, shape (N,), -1 where an image has none."""
        known = labels >= 0
        starts = np.concatenate(([0], np.cumsum(known))).astype(np.int32)
        images = copy(self)
        images._labels = pa.ListArray.from_arrays(starts, labels[known].astype(np.int64))
        return images

    def unlabeled(self) -> Split:
        """Return the same images without labels."""
        return self.relabeled(np.full(len(self), -1))


def _key_order(references: ImageReferences, keys: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return `indices` sorted by key, then name: by the keys' first 8 bytes, and what these leave open one by one."""
    heads = np.ascontiguousarray(keys[indices, :8]).view(">u8").ravel().astype(np.uint64)
    order = np.argsort(heads)
    tied = np.diff(heads[order]) == 0
    edges = np.flatnonzero(np.diff(np.concatenate(([False], tied, [False])).astype(np.int8)))
    order = indices[order]
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        tie = order[start : end + 1].tolist()
        order[start : end + 1] = sorted(tie, key=lambda i: (keys[i].tobytes(), references[i].name, i))
    return order


def _arrow(keys: np.ndarray) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(KEY_BYTES), len(keys), [None, pa.py_buffer(keys)])


def all_keys(splits: Mapping[str, Split]) -> list[str]:
    """Return the keys of all splits laid end to end."""
    return [key for images in splits.values() for key in Split.keys(images)]


def locate(splits: Mapping[str, Split], position: int) -> tuple[str, Split, int]:
    """Return name, images and the index among them of image `position`, from 0, of all splits laid end to end.

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

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


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
        """Return a split; raise DataError where there is none of that name."""
        if name not in self.splits or not len(self.splits[name]):
            known = ", ".join(f"{n} ({len(s)} images)" for n, s in self.splits.items()) or "none"
            raise DataError(f"There are no {name} images. Splits found: {known}. Name a source with --{name}.")
        return self.splits[name]


def open_dataset(
    config: ImageOptions,
    splits: Sequence[str] = ("train", "val"),
    show: bool = True,
    more_classes: Sequence[str] = (),
    every_class: bool = False,
) -> Dataset:
    """List the images of the splits that the caller needs, with keys; `show` shows progress.

    `more_classes` are ids of classes beside those that the images' labels name; with `every_class` the table of class
    names has them.

    Raises:
        DataError: a source is of no known layout, or no image can be read.
    """
    listed = _listings(config, splits)
    if every_class and config.classes:
        labeled = {class_id for listing in listed.values() for class_id in listing.class_ids}
        more_classes = [*more_classes, *read_classes(config.classes, labeled)]
    class_ids, multi_label = _classes(listed, more_classes)
    positions = {class_id: i for i, class_id in enumerate(class_ids)}
    problems: list[Problem] = []
    found: dict[str, Split] = {}
    with Progress("Indexing", sum(map(len, listed.values())), "images", enabled=show) as progress:
        for name, listing in listed.items():
            found[name] = _split_of(listing, positions, problems, progress)
            if config.limit is not None:
                found[name] = found[name].subset(stratified(found[name], config.limit))
    if not any(len(images) for images in found.values()):
        first = f"; the first: {problems[0].reason}" if problems else ""
        raise DataError(f"None of {len(problems)} images can be read{first}. Wanted splits: {', '.join(splits)}.")
    train, val = found.get("train"), found.get("val")
    num_shared = len(val.distinct_indices()) - len(val.distinct_indices([train])) if train and val else 0
    return Dataset(found, class_ids, class_names(class_ids, config.classes), multi_label, problems, num_shared)


def _listings(config: ImageOptions, splits: Sequence[str]) -> dict[str, Listing]:
    columns = (config.image_column, config.label_column)
    images = getattr(config, "images", None)
    listed = list_source(images, None, *columns) if images is not None else {}
    for split, source in (("train", config.train), ("val", config.val)):
        if source is not None:
            listed[split] = list_source(source, split, *columns).get(split) or Listing.of([])
    return {split: listed[split] for split in splits if split in listed}


def _classes(listed: dict[str, Listing], more: Sequence[str]) -> tuple[list[str], bool]:
    """Return the sorted class ids (numbers by value), with `more` of them, and whether any image has several."""
    ids = sorted({*more, *(one for listing in listed.values() for one in listing.class_ids)}, key=_natural)
    trained = {*more, *listed["train"].class_ids} if "train" in listed and listed["train"].class_ids else set()
    if trained and (unknown := [i for i in ids if i not in trained]):
        raise DataError(f"Validation has classes that training lacks: {', '.join(unknown[:5])}. Remove or add them.")
    return ids, any((listing.labels.value_lengths().to_numpy() > 1).any() for listing in listed.values())


def _natural(class_id: str) -> tuple[int, int, str]:
    return (0, int(class_id), "") if class_id.isdecimal() else (1, 0, class_id)


def _split_of(listing: Listing, positions: dict[str, int], problems: list[Problem], progress: Progress) -> Split:
    keys, reasons = KeyCache().find(listing.references, listing.stats, progress.advance)
    reasons |= listing.reasons
    problems.extend(Problem(listing.references[i].name, reason) for i, reason in sorted(reasons.items()))
    classes = np.array([positions[class_id] for class_id in listing.class_ids], np.int64)
    labels = pa.ListArray.from_arrays(listing.labels.offsets, classes[listing.labels.values.to_numpy()])
    readable = np.ones(len(listing), bool)
    readable[list(reasons)] = False
    return Split(listing.references, keys, labels, np.flatnonzero(readable))


def class_names(ids: Sequence[str], table: Path | None = None) -> list[str]:
    """Return a readable name for each class id, in order.

    Of several phrasings in a table (see `read_classes`) the first counts. Without a table ImageNet's synset ids have
    timm's names, and all others are their own names, with underscores as spaces.

    Raises:
        DataError: the table cannot be read, or lacks an id.
    """
    if table is not None:
        names = read_classes(table, ids)
        if missing := [i for i in ids if i not in names]:
            shown = ", ".join(missing[:5])
            raise DataError(f"{table} has no name for {len(missing)} of {len(ids)} classes: {shown}. Add them.")
        return [names[i].partition("|")[0].strip() for i in ids]
    if ids and all(_SYNSET.fullmatch(i) for i in ids):
        return _imagenet_names(ids)
    return [i.replace("_", " ").strip() or i for i in ids]


def read_classes(table: Path, known: Collection[str] = ()) -> dict[str, str]:
    """Return the name of each class of a table by its id.

    The table is a CSV or TSV with `id,name`, a JSON object {id: name}, a JSON list of the names of classes 0, 1 ...,
    or lines "id name". If the ids are neither numbers nor ImageNet's, nor `known`, a list (JSON, one column, or lines)
    is one of names that are ids themselves. In a name, `|` separates phrasings.

    Raises:
        DataError: the table cannot be read.
    """
    suffix = table.suffix.lower()
    try:
        text = table.read_text(encoding="utf-8-sig")
        if suffix == ".json":
            names = json.loads(text)
            if isinstance(names, list):
                by_number = bool(known) and all(one.isdecimal() for one in known)
                names = {str(number) if by_number else name: name for number, name in enumerate(names)}
            pairs = dict(names).items()
            # ImageNet's published table has {position: [id, name]}
            return {str(i): str(name[-1] if isinstance(name, list) else name) for i, name in pairs}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"Cannot read the class table {table}: {error}. Expected CSV `id,name`, a JSON object {{id: name}} or list "
            "of names, or lines `id name`."
        ) from None
    if suffix in (".csv", ".tsv"):
        rows = list(csv.reader(text.splitlines(), delimiter="\t" if suffix == ".tsv" else ","))
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        firsts = {line.split()[0] for line in lines}
        with_id = all(_LINE.match(line) for line in lines) or (known and firsts >= set(known))
        rows = [line.split(maxsplit=1) if with_id else [line] for line in lines]
    found = [(row[0].strip(), row[min(1, len(row) - 1)].strip()) for row in rows if row and row[0].strip()]
    return dict(found[1:] if found and found[0][1].lower() == "name" else found)


def _imagenet_names(ids: Sequence[str]) -> list[str]:
    from timm.data import ImageNetInfo

    for part in ("imagenet-1k", "imagenet-22k", "imagenet-21k-goog"):
        info = ImageNetInfo(part)
        if set(ids) <= set(info.label_names()):
            return [str(info.label_name_to_description(i)) for i in ids]
    return list(ids)
