"""An image's identity: the SHA-256 of its file's bytes, in hex, and a cache that makes the second look free."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sightwords.errors import DataError
from sightwords.files import cache_folder

_SCHEMA = "CREATE TABLE IF NOT EXISTS keys (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, key TEXT)"
_CHUNK = 2000  # files hashed between two commits; a kill loses at most these


def image_key(data: bytes) -> str:
    """Return the key of an image: SHA-256 of its bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Member:
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
        with open(self.file, "rb") as file:  # noqa: PTH123 (three times faster than Path.open, and it counts here)
            if self.size < 0:
                return file.read()
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise OSError(f"{self.file} ends {self.size - len(data)} bytes before the end of {self.name}")
        return data


class KeyCache:
    """Remembers (path, size, mtime_ns) -> key in one SQLite file; losing it costs time and nothing else."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder() / "key.sqlite"

    def keys(
        self, members: Sequence[Member], advance: Callable[[int], None] | None = None
    ) -> tuple[list[str | None], dict[int, str]]:
        """Return the key of every member, None where it cannot be read, and the reasons by position.

        Args:
            members: the images.
            advance: called with the number of images done since the last call.
        """
        stamps, reasons = _stamps(members)
        with closing(self._connect()) as connection:
            known = _known(connection, members)
            keys: list[str | None] = [None] * len(members)
            todo: list[int] = []
            for i, member in enumerate(members):
                entry = known.get(_cache_name(member))
                if i not in reasons and entry is not None and entry[:2] == stamps[i]:
                    keys[i] = entry[2]
                elif i not in reasons:
                    todo.append(i)
            if advance is not None:
                advance(len(members) - len(todo))
            self._hash(connection, members, stamps, todo, keys, reasons, advance)
        return keys, reasons

    def _hash(
        self,
        connection: sqlite3.Connection,
        members: Sequence[Member],
        stamps: Sequence[tuple[int, int]],
        todo: Sequence[int],
        keys: list[str | None],
        reasons: dict[int, str],
        advance: Callable[[int], None] | None,
    ) -> None:
        with ThreadPoolExecutor(min(16, (os.cpu_count() or 1) * 2)) as pool:
            for start in range(0, len(todo), _CHUNK):
                chunk = todo[start : start + _CHUNK]
                for i, result in zip(chunk, pool.map(lambda i: _key_of(members[i]), chunk), strict=True):
                    if isinstance(result, OSError):
                        reasons[i] = result.strerror or str(result)
                    else:
                        keys[i] = result
                rows = [(_cache_name(members[i]), *stamps[i], keys[i]) for i in chunk if keys[i] is not None]
                with connection:
                    connection.executemany("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)", rows)
                if advance is not None:
                    advance(len(chunk))

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.DatabaseError:  # a damaged cache is worth nothing: start afresh
            self.path.unlink(missing_ok=True)
            return self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(_SCHEMA)
        return connection


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


def _key_of(member: Member) -> str | OSError:
    try:
        return image_key(member.read())
    except OSError as error:
        return error


def _cache_name(member: Member) -> str:
    path = os.path.abspath(member.file)  # noqa: PTH100 (a million times: Path is ten times slower)
    return path if member.size < 0 else f"{path}\0{member.offset}+{member.size}"


def _stamps(members: Iterable[Member]) -> tuple[list[tuple[int, int]], dict[int, str]]:
    """Return (size, mtime_ns) of every member's file, and the reasons where it cannot be had."""
    stamps: list[tuple[int, int]] = []
    reasons: dict[int, str] = {}
    last_file, last_stamp = "", (0, 0)
    for i, member in enumerate(members):
        if member.file != last_file:
            try:
                status = os.stat(member.file)  # noqa: PTH116
                last_file, last_stamp = member.file, (status.st_size, status.st_mtime_ns)
            except OSError as error:
                reasons[i] = error.strerror or str(error)
                stamps.append((0, 0))
                continue
        stamps.append(last_stamp)
    return stamps, reasons


def _known(connection: sqlite3.Connection, members: Sequence[Member]) -> dict[str, tuple[int, int, str]]:
    """Return the cached entries of the members, read as one range per top folder instead of one query per file."""
    folders = {os.path.dirname(os.path.abspath(m.file)) for m in members}  # noqa: PTH100, PTH120
    known: dict[str, tuple[int, int, str]] = {}
    for folder in _tops(folders):
        rows = connection.execute(
            "SELECT path, size, mtime_ns, key FROM keys WHERE path >= ? AND path < ?", (folder + "/", folder + "0")
        )
        known.update((path, (size, mtime_ns, key)) for path, size, mtime_ns, key in rows)
    return known


def _tops(folders: set[str]) -> list[str]:
    """Return the folders that lie below none of the others."""
    tops: list[str] = []
    for folder in sorted(folders):
        if not tops or not (folder + "/").startswith(tops[-1] + "/"):
            tops.append(folder)
    return tops
