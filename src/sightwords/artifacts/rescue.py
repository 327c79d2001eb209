"""What can still be read of a damaged description set: a file cut short by a full disk, a bad copy, a broken drive."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sightwords.artifacts.description_set import DescriptionSet
from sightwords.errors import ArtifactError

_TABLES = ("prompts", "describers", "meta", "images", "descriptions", "reviews")
_PART = 200  # rows that are read at once; one bad page costs at most those between two bad ones
_SMALLEST = 64  # no row takes fewer bytes


def rescue(damaged: Path, rescued: Path) -> int:
    """Copy every row that can be read into a new set; return how many descriptions that were.

    The tables are read part by part, each from both ends up to the damage, so that one bad page costs a page.

    Args:
        damaged: the damaged file; it is only read.
        rescued: the new file.

    Raises:
        ArtifactError: nothing can be read.
    """
    with DescriptionSet(rescued, create=True):
        pass  # makes the tables
    most = damaged.stat().st_size // _SMALLEST
    try:
        with closing(_open(damaged)) as source, closing(sqlite3.connect(rescued)) as target:
            for table in _TABLES:
                if table != "reviews" or _has_reviews(source):
                    _copy(source, target, table, most)
            target.commit()
            num_rows = int(target.execute("SELECT count(*) FROM descriptions").fetchone()[0])
            _complete(target)
    except sqlite3.DatabaseError as error:
        raise ArtifactError(f"Nothing in {damaged} can be read ({error}). Go back to a copy of it.") from None
    return num_rows


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{path.resolve().as_posix()}?mode=ro", uri=True)
    connection.execute("PRAGMA writable_schema = ON")  # SQLite then opens a file that is shorter than it says
    return connection


def _has_reviews(source: sqlite3.Connection) -> bool:
    """Return whether the set may hold what people decided; one of an earlier version has no such table."""
    try:
        source.execute("SELECT 1 FROM reviews LIMIT 0")
    except sqlite3.OperationalError:
        return False
    return True


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str, most: int) -> None:
    columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    statement = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    query = f"SELECT {', '.join(columns)} FROM {table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
    source.execute(query, (0, 0))  # raises where the file is no database at all
    for start in range(1, _last_row(source, table, most) + 1, _PART):
        target.executemany(statement, _readable(source, query, (start, start + _PART - 1)))


def _last_row(source: sqlite3.Connection, table: str, most: int) -> int:
    try:
        return int(source.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()[0])
    except sqlite3.DatabaseError:
        return most


def _readable(source: sqlite3.Connection, query: str, ends: tuple[int, int]) -> list[tuple[Any, ...]]:
    """Return the rows before the first and behind the last damage."""
    rows: list[tuple[Any, ...]] = []
    for direction in ("ASC", "DESC"):
        try:
            for row in source.execute(f"{query} {direction}", ends):
                rows.append(row)
            return rows
        except sqlite3.DatabaseError:
            continue
    return rows


def _complete(target: sqlite3.Connection) -> None:
    """Leave out what lost its prompt or describer: such an answer cannot be told from others."""
    for table in ("descriptions", "reviews"):
        target.execute(f"DELETE FROM {table} WHERE prompt NOT IN (SELECT id FROM prompts)")
        target.execute(f"DELETE FROM {table} WHERE describer NOT IN (SELECT id FROM describers)")
    target.commit()
