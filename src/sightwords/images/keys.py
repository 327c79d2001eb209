"""A cache of keys that makes the second look at files free: none of them is read again.

It holds columns, a row for up to a few thousand images of one folder, because a row for each image took longer to read
than a million files take to be looked at. A key is known while its file has the size and the time of change (mtime_ns)
that it was hashed with.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from sightwords.errors import DataError
from sightwords.files import cache_folder
from sightwords.images.helpers import Helpers, num_processors
from sightwords.images.member import Member, digests
from sightwords.images.references import Places

KEY_BYTES = 32
# a part's digest is of its names: processes that hash the same files at once, or a second time, replace each other's
_SCHEMA = """CREATE TABLE IF NOT EXISTS parts (
    folder BLOB, digest BLOB, names BLOB, stamps BLOB, keys BLOB, UNIQUE (folder, digest))"""
_CHUNK = 8192  # files hashed between two commits; a kill loses at most these
_TASK = 128  # files that a helper hashes at a time
_NUM_PROCESSES = min(16, num_processors() * 2)  # two for each processor, as one of them waits for the disk

Advance = Callable[[int], None]


class KeyCache:
    """Remembers the keys of files in one SQLite file; losing it costs time and nothing else."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder() / "key.sqlite"

    def keys(
        self, members: Sequence[Member], advance: Advance | None = None
    ) -> tuple[list[str | None], dict[int, str]]:
        """Return the key of every member, None where it cannot be read, and the reasons by position.

        Args:
            members: the images.
            advance: called with the number of images done since the last call.
        """
        places = Places.of(members)
        keys, reasons = self.find(places, places.stamps(), advance)
        return [None if i in reasons else key.tobytes().hex() for i, key in enumerate(keys)], reasons

    def find(
        self, places: Places, stamps: np.ndarray, advance: Advance | None = None
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Return the keys in bytes, uint8, shape (N, 32), and by position why an image cannot be read.

        Args:
            places: the images.
            stamps: (size, mtime_ns) of every image's file, int64, shape (N, 2); (-1, -1) where it cannot be had.
            advance: called with the number of images done since the last call.
        """
        keys = np.zeros((len(places), KEY_BYTES), np.uint8)
        connection, known = self._recall(places, stamps, keys)
        with closing(connection):
            todo = np.flatnonzero(~known)
            todo = todo[np.argsort(places.folder[todo], kind="stable")]  # a part is of one folder
            if advance is not None:
                advance(len(places) - len(todo))
            reasons: dict[int, str] = {}
            with Helpers(min(_NUM_PROCESSES, len(todo) // _TASK)) as helpers:
                for rows in _pieces(todo, _CHUNK):
                    reasons |= _hash(helpers, places, rows, keys)
                    _store(connection, places, rows, stamps, keys, reasons)
                    if advance is not None:
                        advance(len(rows))
        return keys, reasons

    def _recall(self, places: Places, stamps: np.ndarray, keys: np.ndarray) -> tuple[sqlite3.Connection, np.ndarray]:
        """Fill in the keys of the files that are as they were; return the cache and which these are, bool, (N,)."""
        try:
            return _opened(self.path, places, stamps, keys)
        except sqlite3.OperationalError:  # locked, or no room: not its contents
            raise
        except sqlite3.DatabaseError:  # a damaged cache is worth nothing: start afresh
            for ending in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            return _opened(self.path, places, stamps, keys)


def _opened(path: Path, places: Places, stamps: np.ndarray, keys: np.ndarray) -> tuple[sqlite3.Connection, np.ndarray]:
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(_SCHEMA)
        return connection, _known(connection, places, stamps, keys)
    except BaseException:
        connection.close()
        raise


def _known(connection: sqlite3.Connection, places: Places, stamps: np.ndarray, keys: np.ndarray) -> np.ndarray:
    known = np.zeros(len(places), bool)
    for folder, rows in places.by_folder():
        part = _read(connection, folder)
        if part is not None:
            at = _find(part.names, places.inside(rows))
            same = (at >= 0) & (part.stamps[at] == stamps[rows]).all(axis=1)
            keys[rows[same]] = part.keys[at[same]]
            known[rows] = same
    return known


def image_keys(files: Iterable[str | Path]) -> list[str]:
    """Return the key of each image file, for a training loop of one's own; the second look at a file is free.

    Args:
        files: paths of the image files.

    Raises:
        DataError: a file cannot be read; the first of them is named.
    """
    members = [Member(str(file), str(file)) for file in files]
    keys, reasons = KeyCache().keys(members)
    if reasons:
        first = min(reasons)
        raise DataError(
            f"{len(reasons)} of {len(members)} image files cannot be read. The first is {members[first].name}: "
            f"{reasons[first]}. Leave them out, or put them back."
        )
    return [key for key in keys if key is not None]


@dataclass(frozen=True)
class _Part:
    """What is remembered of n files of a folder: names, each ended by a zero byte, stamps (n, 2) and keys (n, 32)."""

    names: bytes
    stamps: np.ndarray
    keys: np.ndarray


def _read(connection: sqlite3.Connection, folder: str) -> _Part | None:
    """Return what is remembered of a folder or shard, the oldest first."""
    query = "SELECT names, stamps, keys FROM parts WHERE folder = ? ORDER BY rowid"
    found = connection.execute(query, (_folder_name(folder),)).fetchall()
    if not found:
        return None
    names, stamps, keys = (b"".join(column) for column in zip(*found, strict=True))
    if not 2 * len(keys) == 4 * len(stamps) == 64 * names.count(b"\0"):
        raise sqlite3.DatabaseError(f"what is remembered of {folder} does not fit together")
    return _Part(names, np.frombuffer(stamps, np.int64).reshape(-1, 2), np.frombuffer(keys, np.uint8).reshape(-1, 32))


def _find(known: bytes, wanted: bytes) -> np.ndarray:
    """Return the last position in `known` of each of the `wanted` names, -1 where it is not, int64."""
    if known == wanted:
        return np.arange(known.count(b"\0"))
    place = {name: i for i, name in enumerate(known.split(b"\0")[:-1])}
    return np.array([place.get(name, -1) for name in wanted.split(b"\0")[:-1]], np.int64)


def _store(
    connection: sqlite3.Connection,
    places: Places,
    rows: np.ndarray,
    stamps: np.ndarray,
    keys: np.ndarray,
    reasons: dict[int, str],
) -> None:
    readable = np.array([i not in reasons for i in rows.tolist()], bool)
    parts = []
    for folder, own in places.by_folder(rows[readable & (stamps[rows, 0] >= 0)]):  # what has no stamp is never known
        names = places.inside(own)
        digest = hashlib.sha256(names).digest()
        parts.append((_folder_name(folder), digest, names, stamps[own].tobytes(), keys[own].tobytes()))
    with connection:
        connection.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?)", parts)


def _hash(helpers: Helpers, places: Places, rows: np.ndarray, keys: np.ndarray) -> dict[int, str]:
    """Fill in the keys of the images at `rows`, and return why some cannot be read, by position."""
    questions = ([places.member(i) for i in some.tolist()] for some in _pieces(rows, _TASK))
    reasons: dict[int, str] = {}
    for i, found in zip(rows.tolist(), chain.from_iterable(helpers.map(digests, questions)), strict=True):
        if isinstance(found, str):
            reasons[i] = found
        else:
            keys[i] = np.frombuffer(found, np.uint8)
    return reasons


def _pieces(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _folder_name(folder: str) -> bytes:
    return os.fsencode(os.path.abspath(folder))  # noqa: PTH100 (Path.resolve follows links, and is slow)
