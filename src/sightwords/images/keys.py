"""An image's key, the SHA-256 of its bytes, and a cache of keys: the second look at a file does not read it.

The cache holds columns, a row for up to a few thousand images of one folder, because a row for each image took longer
to read than a million files take to be looked at. A key is known while its file has the size and the time of change
(mtime_ns) that it was hashed with.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np

from sightwords.errors import DataError
from sightwords.files import cache_folder
from sightwords.images.references import ImageReference, ImageReferences

KEY_BYTES = 32
# names end with a zero byte; the digest is of the names: processes that hash the same files replace each other's parts
_SCHEMA = """CREATE TABLE IF NOT EXISTS parts (
    folder BLOB, digest BLOB, names BLOB, stats BLOB, keys BLOB, UNIQUE (folder, digest))"""
CHUNK_SIZE = 8192  # files hashed between two commits; a kill loses at most these
TASK_SIZE = 128  # files that a thread hashes at a time
NUM_THREADS = 8  # reading and hashing release Python's lock, so some wait for the disk while others compute

Advance = Callable[[int], None]


def image_key(data: bytes) -> str:
    """Return the key of an image: SHA-256 of its bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def image_keys(files: Iterable[str | Path]) -> list[str]:
    """Return the key of each image file, for a training loop of one's own; the second look at a file is free.

    Raises:
        DataError: a file cannot be read; the first of them is named.
    """
    references = [ImageReference(str(file), str(file)) for file in files]
    keys, reasons = KeyCache().keys(references)
    if reasons:
        first = min(reasons)
        raise DataError(
            f"{len(reasons)} of {len(references)} image files cannot be read. The first is {references[first].name}: "
            f"{reasons[first]}. Leave them out, or put them back."
        )
    return [key for key in keys if key is not None]


class KeyCache:
    """Remembers the keys of files in one SQLite file, by default in the cache folder; losing it costs time alone."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder() / "keys.sqlite"

    def keys(
        self, references: Sequence[ImageReference], advance: Advance = lambda count: None
    ) -> tuple[list[str | None], dict[int, str]]:
        """Return the key of every image, None where it cannot be read, and the reasons by position; see `find`."""
        columns = ImageReferences.of(references)
        keys, reasons = self.find(columns, columns.stats(), advance)
        return [None if i in reasons else key.tobytes().hex() for i, key in enumerate(keys)], reasons

    def find(
        self, references: ImageReferences, stats: np.ndarray, advance: Advance = lambda count: None
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Return the keys in bytes, uint8, shape (N, 32), and by position why an image cannot be read.

        Args:
            references: the images.
            stats: (bytes, mtime_ns) of every image's file, int64, shape (N, 2); (-1, -1) where it cannot be had.
            advance: called with the number of images done since the last call.
        """
        keys = np.zeros((len(references), KEY_BYTES), np.uint8)
        reasons: dict[int, str] = {}
        connection, known = self._open(references, stats, keys)
        with closing(connection), ThreadPoolExecutor(NUM_THREADS) as threads:
            todo = np.flatnonzero(~known)
            todo = todo[np.argsort(references.folder[todo], kind="stable")]  # a part is of one folder
            advance(len(references) - len(todo))
            for rows in _pieces(todo, CHUNK_SIZE):
                tasks = ([references[i] for i in some.tolist()] for some in _pieces(rows, TASK_SIZE))
                for i, found in zip(rows.tolist(), chain.from_iterable(threads.map(_digests, tasks)), strict=True):
                    if isinstance(found, str):
                        reasons[i] = found
                    else:
                        keys[i] = np.frombuffer(found, np.uint8)
                _store(connection, references, rows[[i not in reasons for i in rows.tolist()]], stats, keys)
                advance(len(rows))
        return keys, reasons

    def _open(
        self, references: ImageReferences, stats: np.ndarray, keys: np.ndarray, is_new: bool = False
    ) -> tuple[sqlite3.Connection, np.ndarray]:
        """Fill in the keys of the files that are as they were; return the cache and which these are, bool, (N,)."""
        connection = sqlite3.connect(self.path, timeout=60)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_SCHEMA)
            return connection, _recall(connection, references, stats, keys)
        except sqlite3.DatabaseError as error:
            connection.close()
            if is_new or isinstance(error, sqlite3.OperationalError):  # locked, or no room: not its contents
                raise
        for ending in ("", "-wal", "-shm"):  # a damaged cache is worth nothing: start afresh
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        return self._open(references, stats, keys, is_new=True)


def _digests(references: Sequence[ImageReference]) -> list[bytes | str]:
    """Return the key of every image in bytes, or, where it cannot be read, why."""
    found: list[bytes | str] = []
    for reference in references:
        try:
            found.append(hashlib.sha256(reference.read()).digest())
        except OSError as error:
            found.append(error.strerror or str(error))
    return found


def _recall(
    connection: sqlite3.Connection, references: ImageReferences, stats: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    known = np.zeros(len(references), bool)
    query = "SELECT names, stats, keys FROM parts WHERE folder = ? ORDER BY rowid"
    for folder, rows in references.by_folder(np.arange(len(references))):
        parts = connection.execute(query, (_folder_name(folder),)).fetchall()
        if not parts:
            continue
        names, old_stats, old_keys = (b"".join(column) for column in zip(*parts, strict=True))
        if not 2 * len(old_keys) == 4 * len(old_stats) == 64 * names.count(b"\0"):
            raise sqlite3.DatabaseError(f"what is remembered of {folder} does not fit together")
        at = _find(names, references.inside(rows))
        same = (at >= 0) & (np.frombuffer(old_stats, np.int64).reshape(-1, 2)[at] == stats[rows]).all(axis=1)
        keys[rows[same]] = np.frombuffer(old_keys, np.uint8).reshape(-1, KEY_BYTES)[at[same]]
        known[rows] = same
    return known


def _find(known: bytes, wanted: list[bytes]) -> np.ndarray:
    """Return the last position in `known` of each of the `wanted` names, -1 where it is not, int64."""
    if known == _joined(wanted):
        return np.arange(len(wanted))
    place = {name: i for i, name in enumerate(known.split(b"\0")[:-1])}
    return np.array([place.get(name, -1) for name in wanted], np.int64)


def _store(
    connection: sqlite3.Connection, references: ImageReferences, rows: np.ndarray, stats: np.ndarray, keys: np.ndarray
) -> None:
    parts = []
    for folder, own in references.by_folder(rows[stats[rows, 0] >= 0]):  # a file that has no stat is never known
        names = _joined(references.inside(own))
        digest = hashlib.sha256(names).digest()
        parts.append((_folder_name(folder), digest, names, stats[own].tobytes(), keys[own].tobytes()))
    with connection:
        connection.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?)", parts)


def _joined(names: list[bytes]) -> bytes:
    return b"".join(name + b"\0" for name in names)


def _pieces(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _folder_name(folder: str) -> bytes:
    return os.fsencode(os.path.abspath(folder))  # noqa: PTH100 (Path.resolve follows links, and is slow)
