"""Where the bytes of images lie: one image, or the columns of many.

A Python object for each of a million files takes seconds to make, and reference counting copies them into every worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

NO_STAT = (-1, -1)  # of a file that cannot be looked at: equal to that of none
_TEXT = ("utf-8", "surrogateescape")  # file names that are no UTF-8 come back as they were


@dataclass(frozen=True)
class ImageReference:
    """Where an image's bytes lie: a whole file, or a range of a shard.

    Attributes:
        file: path of the file that holds the bytes.
        name: the image's name as a user knows it.
        offset: first byte in the file.
        size: number of bytes, -1 for the whole file.
    """

    file: str
    name: str
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """Return the image's bytes.

        Raises:
            OSError: the file cannot be read, or is shorter than promised.
        """
        buffering = 0 if self.size < 0 else -1  # a whole file needs no buffer; of a range, a plain read may give less
        with open(self.file, "rb", buffering) as file:  # noqa: PTH123 (a million times: Path.open is three times slower)
            if self.size < 0:
                return file.read()
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise OSError(f"{self.file} ends {self.size - len(data)} bytes before the end of {self.name}")
        return data


@dataclass(frozen=True)
class ImageReferences:
    """Where N images lie, each a whole file of a folder or a range of a shard.

    Attributes:
        folders: what the paths begin with, its `/` included; of ranges the whole path of their shard.
        titles: what the names that users know begin with, same order.
        folder: position in `folders` and `titles` of each image, int32, shape (N,).
        names: what both path and name end with, large_binary, shape (N,). Of ranges only the name ends with it.
        offsets: first byte in the file, int64, shape (N,).
        sizes: number of bytes, -1 for the whole file, int64, shape (N,).
    """

    folders: list[str]
    titles: list[str]
    folder: np.ndarray
    names: pa.LargeBinaryArray
    offsets: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, references: Sequence[ImageReference]) -> ImageReferences:
        """Return the columns of references given one by one."""
        codes: dict[tuple[str, str], int] = {}
        parts = [_parts(reference) for reference in references]
        folder = np.array([codes.setdefault(part[:2], len(codes)) for part in parts], np.int32)
        offsets = np.array([reference.offset for reference in references], np.int64)
        sizes = np.array([reference.size for reference in references], np.int64)
        names = name_column([name for _, _, name in parts])
        return cls([path for path, _ in codes], [title for _, title in codes], folder, names, offsets, sizes)

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, index: int) -> ImageReference:
        code, size, offset = self.folder[index], int(self.sizes[index]), int(self.offsets[index])
        path, name = self.folders[code], str(self.names[index].as_py(), *_TEXT)
        return ImageReference(path if size >= 0 else path + name, self.titles[code] + name, offset, size)

    def take(self, indices: np.ndarray) -> ImageReferences:
        """Return the images at `indices`, int64, shape (M,), in that order; the folders stay as they are."""
        columns = (self.folder[indices], self.names.take(pa.array(indices)), self.offsets[indices], self.sizes[indices])
        return ImageReferences(self.folders, self.titles, *columns)

    def by_folder(self, indices: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each folder or shard that has images among `indices`, int64, and their indices in order."""
        chosen = indices[np.argsort(self.folder[indices], kind="stable")]
        changes = np.flatnonzero(np.diff(self.folder[chosen])) + 1
        for rows in np.split(chosen, changes) if len(chosen) else []:
            yield self.folders[self.folder[rows[0]]], rows

    def inside(self, indices: np.ndarray) -> list[bytes]:
        """Return what tells the images at `indices`, of one folder or shard, apart: names, or ranges."""
        if self.sizes[indices[0]] < 0:
            return list(self.names.take(pa.array(indices)).to_pylist())
        ranges = zip(self.offsets[indices].tolist(), self.sizes[indices].tolist(), strict=True)
        return [b"%d+%d" % pair for pair in ranges]

    def stats(self) -> np.ndarray:
        """Look at every file and return (bytes, mtime_ns), int64, shape (N, 2); NO_STAT where that fails."""
        stats = np.empty((len(self), 2), np.int64)
        for folder, rows in self.by_folder(np.arange(len(self))):
            is_shard = self.sizes[rows[0]] >= 0
            stats[rows] = _stat(folder) if is_shard else [_stat(self[i].file) for i in rows.tolist()]
        return stats


def name_column(names: Sequence[str]) -> pa.LargeBinaryArray:
    """Return N names as a column, shape (N,); those that are no UTF-8 come back as they were."""
    return pa.array([name.encode(*_TEXT) for name in names], pa.large_binary())


def _parts(reference: ImageReference) -> tuple[str, str, str]:
    """Return path and name without what they end with in common, and that."""
    if reference.size >= 0:
        return reference.file, "", reference.name
    base = os.path.basename(reference.file)  # noqa: PTH119 (a million times: Path is ten times slower)
    if not reference.name.endswith(base):
        return reference.file, reference.name, ""
    return reference.file.removesuffix(base), reference.name.removesuffix(base), base


def _stat(file: str) -> tuple[int, int]:
    try:
        status = os.stat(file)  # noqa: PTH116
    except OSError:
        return NO_STAT
    return status.st_size, status.st_mtime_ns
