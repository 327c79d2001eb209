"""Decoded and shrunk pictures in one memory-mapped file, written while the first epoch reads them.

Every process of this machine reads and writes the same file. Its layout: a page with the header, a table of slots found
by the picture's key (open addressing), and the pixels. Only one process writes at a time (a file lock); readers take
none. A writer first claims room in the header, then writes pixels, and then the slots that name them. So a kill at any
instant leaves at most claimed room that nobody names. Slots and pixels carry checksums: what is not whole counts as
absent. The file is sparse, as large as its limit, and takes the disk that its pictures need.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightwords.files import cache_folder
from sightwords.images.decode import DECODER_VERSION

_MAGIC = b"sightwords pixels 1\n"
_PAGE = 4096
_HEADER = struct.Struct("<20s4xQQ")  # magic, slots, end of what is claimed
_SLOT = struct.Struct("<32sQIIII8x")  # key, offset, height, width, checksum of the pixels, checksum of this slot
_MIN_SLOTS = 1 << 16
_EMPTY = bytes(_SLOT.size)


@dataclass(frozen=True)
class CachePlan:
    """Which cache file, and what it may hold; small, so that it travels to loader processes.

    Attributes:
        path: the file.
        num_slots: places for keys, a power of two.
        limit_bytes: of pixels, at most.
        shorter: length in pixels to which the shorter side of larger pictures is shrunk before they are kept.
        interpolation: how.
    """

    path: Path
    num_slots: int
    limit_bytes: int
    shorter: int
    interpolation: str


def plan_cache(source: str, num_images: int, limit_gb: float, shorter: int, interpolation: str) -> CachePlan:
    """Return the cache of a source of images.

    Args:
        source: what tells one data set from another, such as its absolute path.
        num_images: images of all its splits.
        limit_gb: gigabytes (10^9) of pixels, at most.
        shorter: see `CachePlan`.
        interpolation: see `CachePlan`.
    """
    num_slots = max(_MIN_SLOTS, 1 << (2 * num_images - 1).bit_length())
    name = hashlib.sha256(source.encode()).hexdigest()[:16]
    file = f"{name}-{shorter}-{interpolation}-v{DECODER_VERSION}-{num_slots}.pixels"
    return CachePlan(cache_folder() / "pixels" / file, num_slots, int(limit_gb * 1e9), shorter, interpolation)


class ImageCache:
    """One process's view of a cache file.

    Args:
        plan: which file. What is there is kept; one that cannot be read is begun anew.
    """

    def __init__(self, plan: CachePlan) -> None:
        self._plan = plan
        self._start = _PAGE + plan.num_slots * _SLOT.size
        self._pending: dict[str, np.ndarray] = {}
        self._checked = np.zeros(plan.num_slots, bool)
        self._is_full = False
        self._file = self._open()
        size = os.fstat(self._file).st_size
        self._map = mmap.mmap(self._file, size, access=mmap.ACCESS_READ)

    def get(self, key: str) -> np.ndarray | None:
        """Return a picture, uint8, shape (H, W, 3), not to be written to; None where it is not there."""
        if key in self._pending:
            return self._pending[key]
        place, slot = self._find(bytes.fromhex(key))
        if slot is None:
            return None
        _, offset, height, width, checksum, _ = _SLOT.unpack(slot)
        size = height * width * 3
        if offset + size > len(self._map):  # written under a larger limit, after this process looked
            return None
        pixels = np.frombuffer(self._map, np.uint8, size, offset).reshape(height, width, 3)
        if not self._checked[place]:
            if zlib.crc32(pixels.data) != checksum:
                return None
            self._checked[place] = True
        return pixels

    def put(self, key: str, pixels: np.ndarray) -> None:
        """Keep a picture, uint8, shape (H, W, 3), with the next `flush`."""
        if not self._is_full:
            self._pending[key] = pixels

    def flush(self) -> None:
        """Write what was put; where the limit is reached or the disk is full, nothing more is kept from here on."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        try:
            with self._lock():
                self._write(pending)
        except OSError:  # no room on the disk: the cache ends here, the training does not
            self._is_full = True

    def num_bytes(self) -> int:
        """Return how many bytes of pixels the file holds."""
        return self._end() - self._start

    def _write(self, pictures: Mapping[str, np.ndarray]) -> None:
        start = self._end()
        room = min(self._start + self._plan.limit_bytes, os.fstat(self._file).st_size)
        slots: dict[int, bytes] = {}
        chunks: list[bytes] = []
        end = start
        for key, pixels in pictures.items():
            place, known = self._find(bytes.fromhex(key), slots)
            if known is not None or place < 0:
                continue
            if end + pixels.nbytes > room:
                self._is_full = True
                break
            data = pixels.tobytes()
            slots[place] = _slot(key, end, pixels, zlib.crc32(data))
            chunks.append(data)
            end += len(data)
        if slots:
            _write_all(self._file, _header(self._plan.num_slots, end), 0)
            _write_all(self._file, b"".join(chunks), start)
            for place, slot in slots.items():
                _write_all(self._file, slot, _PAGE + place * _SLOT.size)

    def _find(self, key: bytes, taken: Collection[int] = ()) -> tuple[int, bytes | None]:
        """Return the place and the slot of a key; without a slot, the free place for it, -1 where there is none."""
        num_slots = self._plan.num_slots
        first = int.from_bytes(key[:8], "little")
        for step in range(num_slots):
            place = (first + step) % num_slots
            start = _PAGE + place * _SLOT.size
            slot = self._map[start : start + _SLOT.size]
            if slot == _EMPTY:
                if place not in taken:
                    return place, None
            elif slot[:32] == key and _is_whole(slot):
                return place, slot
        return -1, None

    def _end(self) -> int:
        return int(_HEADER.unpack(os.pread(self._file, _HEADER.size, 0))[2])

    def _lock(self) -> _Lock:
        return _Lock(self._plan.path)

    def _open(self) -> int:
        """Return the file, made where it is missing, no good, or smaller than the limit."""
        path = self._plan.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock():
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            if not self._is_good(file):
                os.close(file)
                path.unlink()  # others may still read the old one
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
                _write_all(file, _header(self._plan.num_slots, self._start), 0)
            size = self._start + self._plan.limit_bytes
            if os.fstat(file).st_size < size:
                os.ftruncate(file, size)
        return file

    def _is_good(self, file: int) -> bool:
        head = os.pread(file, _HEADER.size, 0)
        if len(head) < _HEADER.size:
            return False
        magic, num_slots, end = _HEADER.unpack(head)
        return bool(magic == _MAGIC and num_slots == self._plan.num_slots and end <= os.fstat(file).st_size)


class _Lock:
    """Keeps other writers of a cache file out; a kill frees it."""

    def __init__(self, path: Path) -> None:
        from filelock import FileLock

        path.parent.mkdir(parents=True, exist_ok=True)
        self._held = FileLock(f"{path}.lock")

    def __enter__(self) -> None:
        self._held.acquire()

    def __exit__(self, *_: object) -> None:
        self._held.release()


def _header(num_slots: int, end: int) -> bytes:
    return _HEADER.pack(_MAGIC, num_slots, end)


def _slot(key: str, offset: int, pixels: np.ndarray, checksum: int) -> bytes:
    height, width, _ = pixels.shape
    unsigned = _SLOT.pack(bytes.fromhex(key), offset, height, width, checksum, 0)
    return _SLOT.pack(bytes.fromhex(key), offset, height, width, checksum, zlib.crc32(unsigned))


def _is_whole(slot: bytes) -> bool:
    *values, checksum = _SLOT.unpack(slot)
    return bool(zlib.crc32(_SLOT.pack(*values, 0)) == checksum)


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
