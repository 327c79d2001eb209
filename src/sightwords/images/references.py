"""Where the bytes of many images lie, in columns: a Python object for each of a million files takes seconds to make."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sightwords.images.member import Member

NO_STAMP = (-1, -1)  # of a file that cannot be looked at: equal to the stamp of none
_TEXT = ("utf-8", "surrogateescape")  # file names that are no UTF-8 come back as they were


@dataclass(frozen=True)
class Places:
    """Where N images lie, each a whole file of a folder or a range of a shard.

    Attributes:
        folders: what the paths begin with, its `/` included; of ranges the whole path of their shard.
        titles: what the names that users know begin with, same order.
        folder: position in `folders` and `titles` of each image, int32, shape (N,).
        names: what both path and name end with, each ended by a zero byte, large_binary, shape (N,). Of ranges only the
            name ends with it. The zero bytes make the names of a folder one text that can be compared and cut.
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
    def of(cls, members: Sequence[Member]) -> Places:
        """Return the columns of members given one by one."""
        codes: dict[tuple[str, str], int] = {}
        folder = np.empty(len(members), np.int32)
        names: list[bytes] = []
        for i, member in enumerate(members):
            path, title, name = _parts(member)
            folder[i] = codes.setdefault((path, title), len(codes))
            names.append(name.encode(*_TEXT) + b"\0")
        sizes = np.array([member.size for member in members], np.int64)
        offsets = np.array([member.offset for member in members], np.int64)
        paths, titles = [path for path, _ in codes], [title for _, title in codes]
        return cls(paths, titles, folder, pa.array(names, pa.large_binary()), offsets, sizes)

    @classmethod
    def of_files(cls, folders: list[str], titles: list[str], names: Sequence[bytes], counts: np.ndarray) -> Places:
        """Return the columns of whole files.

        Args:
            folders: the folders, each with its `/`.
            titles: what the files' names begin with, for each folder.
            names: the names of each folder's files, each name ended by a zero byte.
            counts: number of files of each folder.
        """
        num_files = int(counts.sum())
        folder = np.repeat(np.arange(len(folders), dtype=np.int32), counts)
        sizes = np.full(num_files, -1, np.int64)
        return cls(folders, titles, folder, _cut(b"".join(names)), np.zeros(num_files, np.int64), sizes)

    def __len__(self) -> int:
        return len(self.folder)

    def member(self, index: int) -> Member:
        """Return where image `index` lies."""
        code, name, size = self.folder[index], self._ending(index), int(self.sizes[index])
        path = self.folders[code]
        return Member(path if size >= 0 else path + name, self.titles[code] + name, int(self.offsets[index]), size)

    def name(self, index: int) -> str:
        """Return the name of image `index` as a user knows it."""
        return str(self.titles[self.folder[index]]) + self._ending(index)

    def take(self, indices: np.ndarray) -> Places:
        """Return the images at `indices`, in that order; the folders stay as they are."""
        names = self.names.take(pa.array(indices))
        return Places(
            self.folders, self.titles, self.folder[indices], names, self.offsets[indices], self.sizes[indices]
        )

    def by_folder(self, indices: np.ndarray | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each folder or shard that has images, and their indices in order; of `indices`, else of all."""
        chosen = np.arange(len(self)) if indices is None else indices
        chosen = chosen[np.argsort(self.folder[chosen], kind="stable")]
        changes = np.flatnonzero(np.diff(self.folder[chosen])) + 1
        for rows in np.split(chosen, changes) if len(chosen) else []:
            yield self.folders[self.folder[rows[0]]], rows

    def inside(self, indices: np.ndarray) -> bytes:
        """Return what tells images of one folder or shard apart, each ended by a zero byte: names, or ranges."""
        if self.sizes[indices[0]] < 0:
            _, starts, text = self.names.take(pa.array(indices)).buffers()
            return bytes(text[: np.frombuffer(starts, np.int64)[len(indices)]])
        ranges = zip(self.offsets[indices].tolist(), self.sizes[indices].tolist(), strict=True)
        return b"".join(b"%d+%d\0" % pair for pair in ranges)

    def stamps(self) -> np.ndarray:
        """Look at every file and return (size, mtime_ns), int64, shape (N, 2); NO_STAMP where that fails."""
        stamps = np.empty((len(self), 2), np.int64)
        for folder, rows in self.by_folder():
            whole = self.sizes[rows[0]] < 0
            stamps[rows] = [_stamp(folder + self._ending(i)) for i in rows.tolist()] if whole else _stamp(folder)
        return stamps

    def _ending(self, index: int) -> str:
        name: bytes = self.names[index].as_py()
        return name[:-1].decode(*_TEXT)


def _parts(member: Member) -> tuple[str, str, str]:
    """Return a member's path and name without what they end with in common, and that."""
    if member.size >= 0:
        return member.file, "", member.name
    base = os.path.basename(member.file)  # noqa: PTH119 (a million times: Path is ten times slower)
    if not member.name.endswith(base):
        return member.file, member.name, ""
    return member.file[: len(member.file) - len(base)], member.name[: len(member.name) - len(base)], base


def _cut(text: bytes) -> pa.LargeBinaryArray:
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 0) + 1
    starts = np.concatenate((np.zeros(1, np.int64), ends))
    buffers = [None, pa.py_buffer(starts), pa.py_buffer(text)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends), buffers)


def _stamp(file: str) -> tuple[int, int]:
    try:
        status = os.stat(file)  # noqa: PTH116
    except OSError:
        return NO_STAMP
    return status.st_size, status.st_mtime_ns
