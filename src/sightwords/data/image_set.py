"""The images of one split: where their bytes lie, their keys and their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightwords.data.key import Member
from sightwords.data.key_cache import KEY_BYTES
from sightwords.data.place import Places
from sightwords.data.ragged import Ragged


class ImageSet:
    """The readable images of one split in the order of their keys, in columns that worker processes share.

    Python objects per image would be copied into every worker by reference counting; columns are not.
    """

    def __init__(self, members: Sequence[Member], keys: Sequence[str], labels: Sequence[Sequence[int]]) -> None:
        key_bytes = np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, KEY_BYTES)
        self._sort(Places.of(members), key_bytes, Ragged.of(labels), np.arange(len(keys)))

    @classmethod
    def of_columns(cls, places: Places, keys: np.ndarray, labels: Ragged, indices: np.ndarray) -> ImageSet:
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

    def distinct_indices(self, others: Sequence[ImageSet] = ()) -> np.ndarray:
        """Return the index of the first image of every key that is in none of `others`, int64, in order."""
        new = np.ones(len(self), bool)
        new[1:] = (self._keys[1:] != self._keys[:-1]).any(axis=1)
        own = _arrow(self._keys)
        for other in others:
            new &= ~pc.is_in(own, value_set=_arrow(other._keys)).to_numpy(zero_copy_only=False)
        return np.flatnonzero(new)

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """Return the images at `indices` as a set of their own."""
        return ImageSet.of_columns(self._places, self._keys, self._labels, np.asarray(indices, np.int64))

    def relabeled(self, labels: np.ndarray) -> ImageSet:
        """Return the same images with one label each, int64, shape (N,); -1 where an image has none."""
        known = labels >= 0
        return self._with(Ragged(labels[known].astype(np.int64), np.concatenate(([0], np.cumsum(known)))))

    def unlabeled(self) -> ImageSet:
        """Return the same images without labels."""
        return self.relabeled(np.full(len(self), -1))

    def _with(self, labels: Ragged) -> ImageSet:
        copy = object.__new__(ImageSet)
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


def locate(splits: Mapping[str, ImageSet], position: int) -> tuple[str, ImageSet, int]:
    """Return split, its images and the place among them of an image of all splits, laid end to end.

    Raises:
        IndexError: there are fewer images.
    """
    for name, images in splits.items():
        if position < len(images):
            return name, images, position
        position -= len(images)
    raise IndexError("the position is behind the last image")
