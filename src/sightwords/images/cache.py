"""Decoded and shrunk images on disk, written while the first epoch reads them; in short, the image cache.

Every process of this machine reads and writes the same two files: pixels, one image after another, mapped into memory,
and a SQLite index that says which image lies where. A writer locks the index, writes pixels behind the last image that
the index names, and then names them. So a kill at any instant leaves at most pixels that nobody names and the next
writer overwrites. Each image has a checksum: what is not whole counts as absent. The file of pixels is sparse, as large
as its limit, and takes the disk that its images need.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sqlite3
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightwords.files import cache_folder
from sightwords.images.decode import DECODER_VERSION

# without row ids, a key and what is known of its image stand together: damage cannot join one key to another's image
_SCHEMA = """CREATE TABLE IF NOT EXISTS images (
    key BLOB PRIMARY KEY, start INTEGER, height INTEGER, width INTEGER, checksum INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_start ON images (start);"""


@dataclass(frozen=True)
class CachePlan:
    """Which file of pixels, and what it may hold; small, so that it travels to loader processes.

    The shorter side of larger images is shrunk to `shorter` pixels, by `interpolation`, before they are cached.
    """

    path: Path
    limit_bytes: int
    shorter: int
    interpolation: str


def plan_cache(source: str, limit_gb: float, shorter: int, interpolation: str) -> CachePlan:
    """Return the cache, of at most `limit_gb` gigabytes (10^9) of pixels, of a source of images.

    The source tells one data set from another, such as its absolute path; for `shorter` (pixels) see `CachePlan`.
    """
    name = hashlib.sha256(source.encode()).hexdigest()[:16]
    file = f"{name}-{shorter}-{interpolation}-v{DECODER_VERSION}.pixels"
    return CachePlan(cache_folder() / "pixels" / file, int(limit_gb * 1e9), shorter, interpolation)


class ImageCache:
    """One process's view of a cache. What is there is kept; an index that cannot be read is begun anew."""

    def __init__(self, plan: CachePlan) -> None:
        self._limit = plan.limit_bytes
        self._pending: dict[str, np.ndarray] = {}
        self._checked: set[int] = set()
        self._is_full = False
        self._index, self._file = _open(plan)
        self._map = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)

    def get(self, key: str) -> np.ndarray | None:
        """Return an image, uint8, shape (H, W, 3), not to be written to; None where it is not there."""
        if key in self._pending:
            return self._pending[key]
        query = "SELECT start, height, width, checksum FROM images WHERE key = ?"
        try:
            row = self._index.execute(query, (bytes.fromhex(key),)).fetchone()
        except sqlite3.DatabaseError:  # damaged while in use: its images are decoded again
            return None
        if row is None:
            return None
        start, height, width, checksum = row
        if start + 3 * height * width > len(self._map):  # written under a larger limit, after this process looked
            return None
        pixels = np.frombuffer(self._map, np.uint8, 3 * height * width, start).reshape(height, width, 3)
        if start not in self._checked:
            if zlib.crc32(pixels.data) != checksum:
                return None
            self._checked.add(start)
        return pixels

    def put(self, key: str, pixels: np.ndarray) -> None:
        """Cache the `pixels` of an image, uint8, shape (H, W, 3), with the next `flush`."""
        if not self._is_full:
            self._pending[key] = pixels

    def flush(self) -> None:
        """Write what was put; where the limit is reached or the disk is full, nothing more is cached from here on."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        try:
            with self._index:
                self._index.execute("BEGIN IMMEDIATE")
                self._write(pending)
        except (OSError, sqlite3.DatabaseError):  # no room on the disk: the cache ends here, the training does not
            self._is_full = True

    def num_bytes(self) -> int:
        """Return how many bytes of pixels the cache holds."""
        last = "SELECT start + 3 * height * width FROM images ORDER BY start DESC LIMIT 1"
        return int((self._index.execute(last).fetchone() or (0,))[0])

    def _write(self, images: dict[str, np.ndarray]) -> None:
        end = self.num_bytes()
        for key, pixels in images.items():
            if end + pixels.nbytes > self._limit:
                self._is_full = True
                return
            data = pixels.tobytes()
            row = (bytes.fromhex(key), end, *pixels.shape[:2], zlib.crc32(data))
            if self._index.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?)", row).rowcount:
                if os.pwrite(self._file, data, end) != len(data):
                    raise OSError("no room on the disk")
                end += len(data)


def _open(plan: CachePlan) -> tuple[sqlite3.Connection, int]:
    """Return the index, and the file of pixels, at least as large as the limit; both are new where the index is."""
    from filelock import FileLock

    path = plan.path.with_suffix(".sqlite")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{plan.path}.lock"):
        try:
            index = _connect(path) if path.exists() else None
        except sqlite3.OperationalError:  # locked, or no room: not its contents
            raise
        except sqlite3.DatabaseError:
            index = None
        if index is None:  # other processes may still read the old ones
            for ending in (".pixels", ".sqlite", ".sqlite-wal", ".sqlite-shm"):
                plan.path.with_suffix(ending).unlink(missing_ok=True)
            index = _connect(path)
        file = os.open(plan.path, os.O_RDWR | os.O_CREAT, 0o644)
        os.truncate(file, max(plan.limit_bytes, os.fstat(file).st_size, 1))
    return index, file


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.executescript(_SCHEMA)
    return connection
