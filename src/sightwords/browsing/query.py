"""Questions to the index of a description set: pages, counts and choices, each answered from an SQL index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from sightwords.browsing.index import SLOTS, DescriptionIndex, key_bytes
from sightwords.descriptions.schema import Status

MOST_COUNTED = 10_000
_TERM = re.compile(r'(-?)(?:"([^"]*)"?|(\S+))')
_WORD = re.compile(r"\w+")

Order = Literal["oldest", "newest"]
Place = tuple[float, int]
"""Where a page begins or ends: CLIP score and number of a description, or, in the order of numbers, (0, an image's)."""


@dataclass(frozen=True)
class Filter:
    """Which descriptions are wanted; what is None, or empty, does not count.

    Attributes:
        words: words that the text has; `begun*`, `"as they stand"`, and `-word` that it has not.
        class_name: of the image.
        status: of the description.
        reason: of the description.
        clip_score_below: highest CLIP score; pages are in its order then, the lowest first.
        same_as: number that texts of the same words share.
    """

    words: str = ""
    class_name: str | None = None
    status: Status | None = None
    reason: str | None = None
    clip_score_below: float | None = None
    same_as: int | None = None


@dataclass(frozen=True)
class Hit:
    """An image of a page.

    Attributes:
        key: key of the image.
        ids: numbers of its descriptions that are wanted.
        place: where it stands.
    """

    key: str
    ids: tuple[int, ...]
    place: Place


@dataclass(frozen=True)
class Page:
    """Images in order.

    Attributes:
        hits: the images.
        has_more: whether others follow in the direction of reading.
    """

    hits: list[Hit]
    has_more: bool


def match_expression(words: str) -> str:
    """Return what FTS5 is to look for, empty where the user's words hold nothing to look for."""
    wanted: list[str] = []
    unwanted: list[str] = []
    for minus, phrase, word in _TERM.findall(words):
        tokens = _WORD.findall(phrase or word)
        if tokens:
            star = "*" if word.endswith("*") else ""
            (unwanted if minus else wanted).append(f'"{" ".join(tokens)}"{star}')
    found = " ".join(wanted)
    return f"({found}) NOT ({' OR '.join(unwanted)})" if found and unwanted else found


def read_page(
    index: DescriptionIndex,
    wanted: Filter,
    size: int,
    order: Order = "newest",
    after: Place | None = None,
    before: Place | None = None,
) -> Page:
    """Return the images after a place, or those before it, in order.

    Args:
        index: the index.
        wanted: which descriptions.
        size: most images.
        order: by when the images were first described; without effect where a CLIP score is wanted.
        after: where the page before ends; None starts at the front.
        before: where the page behind begins, to go back; takes the place of `after`.
    """
    by_clip_score = wanted.clip_score_below is not None
    rising = (order == "oldest" or by_clip_score) != (before is not None)
    source, conditions, values = _conditions(wanted)
    place = before or after
    if place is not None and by_clip_score:
        conditions.append(f"(t.clip_score, t.id) {'>' if rising else '<'} (?, ?)")
        values += place
    elif place is not None:
        conditions.append(f"{_id(source)} {'>=' if rising else '<'} ?")
        values.append((place[1] + rising) * SLOTS)
    way = "ASC" if rising else "DESC"
    ordering = f"t.clip_score {way}, t.id {way}" if by_clip_score else f"{_id(source)} {way}"
    query = f"SELECT t.clip_score, t.id FROM {source} WHERE {' AND '.join(conditions)} ORDER BY {ordering}"
    with index.reading() as connection:
        found = _hits(connection, connection.execute(query, values), size + 1, by_clip_score)
    hits = found[:size]
    return Page(hits[::-1] if before is not None else hits, len(found) > size)


def count(index: DescriptionIndex, wanted: Filter, most: int = MOST_COUNTED) -> int:
    """Return how many descriptions are wanted, at most `most + 1`: counting further would take time for nothing."""
    source, conditions, values = _conditions(wanted)
    query = f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {' AND '.join(conditions)} LIMIT {most + 1})"
    with index.reading() as connection:
        return int(connection.execute(query, values).fetchone()[0])


def matching(index: DescriptionIndex, wanted: Filter, keys: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the wanted descriptions of images, without those that have none.

    Args:
        index: the index.
        wanted: which descriptions.
        keys: at most a few hundred keys.
    """
    source, conditions, values = _conditions(wanted)
    query = f"SELECT t.id FROM {source} WHERE t.id BETWEEN ? AND ? AND {' AND '.join(conditions)} ORDER BY t.id"
    found: dict[str, tuple[int, ...]] = {}
    with index.reading() as connection:
        for key in keys:
            row = connection.execute("SELECT no FROM main.images WHERE key = ?", (key_bytes(key),)).fetchone()
            if row is None:
                continue
            ends = (row[0] * SLOTS, row[0] * SLOTS + SLOTS - 1)
            if ids := tuple(one[0] for one in connection.execute(query, (*ends, *values))):
                found[key] = ids
    return found


def slots(index: DescriptionIndex) -> dict[int, tuple[int, int, int]]:
    """Return by number modulo `SLOTS` the row ids of prompt and describer, and the sample."""
    with index.reading() as connection:
        rows = connection.execute("SELECT no, prompt, describer, sample FROM slots").fetchall()
    return {row[0]: row[1:] for row in rows}


def choices(index: DescriptionIndex, column: Literal["class", "status", "reason"]) -> list[tuple[str, int]]:
    """Return the values that occur and how often, the most frequent first (classes: by name)."""
    with index.reading() as connection:
        if column == "status":
            query = "SELECT status, count(*) AS n FROM texts GROUP BY status ORDER BY n DESC"
        else:
            table = {"class": "classes", "reason": "reasons"}[column]
            order = "v.name" if column == "class" else "n DESC"
            query = (
                f"SELECT v.name, n FROM (SELECT {column} AS id, count(*) AS n FROM texts GROUP BY {column}) "
                f"JOIN {table} AS v USING (id) ORDER BY {order}"
            )
        return [(name, n) for name, n in connection.execute(query) if name]


def _conditions(wanted: Filter) -> tuple[str, list[str], list[object]]:
    """Return tables, conditions and values of a query; words come first, since they decide the most."""
    source, conditions, values = "texts AS t", ["1"], list[object]()
    if wanted.words.strip():
        expression = match_expression(wanted.words)
        source = "words AS w CROSS JOIN texts AS t ON t.id = w.rowid"
        conditions = ["words MATCH ?"] if expression else ["0"]
        values = [expression] if expression else []
    for column, table, name in (("class", "classes", wanted.class_name), ("reason", "reasons", wanted.reason)):
        if name is not None:
            conditions.append(f"t.{column} = (SELECT id FROM {table} WHERE name = ?)")
            values.append(name)
    for condition, value in (
        ("t.status = ?", wanted.status),
        ("t.clip_score <= ?", wanted.clip_score_below),
        ("t.digest = ?", wanted.same_as),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return source, conditions, values


def _id(source: str) -> str:
    return "w.rowid" if source.startswith("words") else "t.id"  # FTS5 goes through its own numbers in order


def _hits(
    connection: sqlite3.Connection, rows: Iterator[tuple[float, int]], most: int, by_clip_score: bool
) -> list[Hit]:
    """Return the first images of some rows; in the order of CLIP scores an image may come several times."""
    hits: list[Hit] = []
    for place, group in groupby(rows, key=lambda row: row if by_clip_score else (0.0, row[1] // SLOTS)):
        ids = tuple(sorted(row[1] for row in group))
        [key] = connection.execute("SELECT key FROM main.images WHERE no = ?", (ids[0] // SLOTS,)).fetchone()
        hits.append(Hit(key if isinstance(key, str) else key.hex(), ids, place))
        if len(hits) == most:
            break
    return hits
