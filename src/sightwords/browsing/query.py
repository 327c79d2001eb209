"""Questions to the index of a description set: pages, counts and choices, each answered from an SQL index."""

from __future__ import annotations

import contextlib
import math
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from sightwords.browsing.index import SLOTS, WORD, DescriptionIndex
from sightwords.descriptions.schema import Status

MAX_COUNTED = 10_000
_TERM = re.compile(r'(-?)(?:"([^"]*)"?|(\S+))')

Order = Literal["oldest", "newest"]
Choice = Literal["class_name", "status", "reason"]
Cursor = tuple[float, int]
"""Where a page begins or ends: CLIP score and number of a description; in the order of numbers (0, image number)."""
Slots = set[tuple[int, int, int]]
"""Which descriptions of an image: row ids of prompt and describer, and the sample."""


@dataclass(frozen=True)
class Query:
    """Which descriptions a page shows; what is None or empty selects everything.

    Attributes:
        words: words of the text; `begun*`, `"a phrase"`, and `-word` for one that it lacks.
        meaning: a sentence; images come in the order of their texts' similarity to it.
        class_name: of the image.
        status: of the description.
        reason: of the description.
        clip_score_below: highest CLIP score; pages come in its order, the lowest first.
        same_as: digest that texts of the same words share.
        order: by when the images were first described, where neither sentence nor CLIP score orders them.
        after: where the page before ends.
        before: where the page behind begins, to go back.
        skip: number of images before the page, where a sentence is given.
    """

    words: str = ""
    meaning: str = ""
    class_name: str | None = None
    status: Status | None = None
    reason: str | None = None
    clip_score_below: float | None = None
    same_as: int | None = None
    order: Order = "newest"
    after: Cursor | None = None
    before: Cursor | None = None
    skip: int = 0

    def first_page(self, **changes: Any) -> Query:
        """Return the first page of another query."""
        return replace(self, **{"after": None, "before": None, "skip": 0, **changes})

    def to_url(self) -> str:
        """Return the query part of an address, empty for the default."""
        changed = {
            name: getattr(self, field)
            for name, (field, _) in _PARAMETERS.items()
            if getattr(self, field) != getattr(Query, field)
        }
        return urlencode({name: ",".join(map(str, v)) if isinstance(v, tuple) else v for name, v in changed.items()})

    @classmethod
    def from_url(cls, parameters: Mapping[str, str]) -> Query:
        """Return the query of an address; values that make no sense are left out."""
        values: dict[str, Any] = {}
        for name, (field, parse) in _PARAMETERS.items():
            if parameters.get(name):
                with contextlib.suppress(ValueError):
                    values[field] = parse(parameters[name])
        return cls(**values)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError
    return value


def _row_number(text: str) -> int:
    if not -(2**63) <= (value := int(text)) < 2**63 - SLOTS:
        raise ValueError
    return value


def _cursor(text: str) -> Cursor:
    score, _, number = text.partition(",")
    return _finite(score), _row_number(number)


_STATUSES, _ORDERS = get_args(Status), get_args(Order)
# name in the address: field and how it is read; `index` raises for what is none of the choices
_PARAMETERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "q": ("words", str),
    "like": ("meaning", str),
    "class": ("class_name", str),
    "status": ("status", lambda text: _STATUSES[_STATUSES.index(text)]),
    "reason": ("reason", str),
    "clip_score": ("clip_score_below", _finite),
    "same": ("same_as", _row_number),
    "order": ("order", lambda text: _ORDERS[_ORDERS.index(text)]),
    "after": ("after", _cursor),
    "before": ("before", _cursor),
    "skip": ("skip", lambda text: max(0, _row_number(text))),
}


@dataclass(frozen=True)
class Hit:
    """An image that a query finds.

    Attributes:
        key: key of the image.
        slots: which of its descriptions match.
        cursor: where it stands.
    """

    key: str
    slots: Slots
    cursor: Cursor


def match_expression(words: str) -> str:
    """Return what FTS5 is to look for, empty where the user's words hold nothing to look for."""
    wanted: list[str] = []
    unwanted: list[str] = []
    for minus, phrase, word in _TERM.findall(words):
        tokens = WORD.findall(phrase or word)
        if tokens:
            star = "*" if word.endswith("*") else ""
            (unwanted if minus else wanted).append(f'"{" ".join(tokens)}"{star}')
    found = " ".join(wanted)
    return f"({found}) NOT ({' OR '.join(unwanted)})" if found and unwanted else found


def read_page(index: DescriptionIndex, query: Query, size: int) -> tuple[list[Hit], bool]:
    """Return the images of a page, at most `size`, in order, and whether more follow in the direction of reading."""
    by_score = query.clip_score_below is not None
    rising = (query.order == "oldest" or by_score) != (query.before is not None)
    source, conditions, values = _conditions(query)
    number = "w.rowid" if query.words.strip() else "t.id"  # FTS5 goes through its own numbers in order
    cursor = query.before or query.after
    if cursor is not None and by_score:
        conditions.append(f"(t.clip_score, t.id) {'>' if rising else '<'} (?, ?)")
        values += cursor
    elif cursor is not None:
        conditions.append(f"{number} {'>=' if rising else '<'} ?")
        values.append((cursor[1] + rising) * SLOTS)
    way = "ASC" if rising else "DESC"
    ordering = f"t.clip_score {way}, t.id {way}" if by_score else f"{number} {way}"
    text = f"SELECT t.clip_score, t.id FROM {source} WHERE {' AND '.join(conditions)} ORDER BY {ordering}"
    with index.reading() as connection:
        found = _hits(connection, connection.execute(text, values), size + 1, by_score)
    hits = found[:size]
    return hits[::-1] if query.before is not None else hits, len(found) > size


def count(index: DescriptionIndex, query: Query, limit: int = MAX_COUNTED) -> int:
    """Return the number of descriptions found, at most `limit + 1`: to count further would take time for nothing."""
    source, conditions, values = _conditions(query)
    text = f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {' AND '.join(conditions)} LIMIT {limit + 1})"
    with index.reading() as connection:
        return int(connection.execute(text, values).fetchone()[0])


def matching(index: DescriptionIndex, query: Query, keys: Sequence[str]) -> dict[str, Slots]:
    """Return which descriptions of some images match, without images that have none; at most a few hundred keys."""
    source, conditions, values = _conditions(query)
    text = f"SELECT t.id FROM {source} WHERE t.id BETWEEN ? AND ? AND {' AND '.join(conditions)} ORDER BY t.id"
    found: dict[str, Slots] = {}
    with index.reading() as connection:
        slots = _slots(connection)
        for key in keys:
            row = connection.execute("SELECT no FROM main.images WHERE key = ?", (key,)).fetchone()
            ends = (row[0] * SLOTS, row[0] * SLOTS + SLOTS - 1) if row else (1, 0)
            if ids := connection.execute(text, (*ends, *values)).fetchall():
                found[key] = {slots[number % SLOTS] for (number,) in ids}
    return found


def choices(index: DescriptionIndex, column: Choice) -> list[tuple[str, int]]:
    """Return the values that occur and how often, the most frequent first (classes: by name)."""
    order = "class_name" if column == "class_name" else "n DESC"
    text = f"SELECT {column}, count(*) AS n FROM texts GROUP BY {column} ORDER BY {order}"
    with index.reading() as connection:
        return [(name, n) for name, n in connection.execute(text) if name]


def _conditions(query: Query) -> tuple[str, list[str], list[object]]:
    """Return tables, conditions and values of a query; words come first, since they decide the most."""
    source, conditions, values = "texts AS t", ["1"], list[object]()
    if query.words.strip():
        expression = match_expression(query.words)
        source = "words AS w CROSS JOIN texts AS t ON t.id = w.rowid"
        conditions, values = (["words MATCH ?"], [expression]) if expression else (["0"], [])
    for condition, value in (
        ("t.class_name = ?", query.class_name),
        ("t.reason = ?", query.reason),
        ("t.status = ?", query.status),
        ("t.clip_score <= ?", query.clip_score_below),
        ("t.digest = ?", query.same_as),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return source, conditions, values


def _slots(connection: sqlite3.Connection) -> dict[int, tuple[int, int, int]]:
    return {row[0]: row[1:] for row in connection.execute("SELECT no, prompt, describer, sample FROM slots")}


def _hits(connection: sqlite3.Connection, rows: Iterator[tuple[float, int]], limit: int, by_score: bool) -> list[Hit]:
    """Return the first images of some rows; in the order of CLIP scores an image may come several times."""
    hits: list[Hit] = []
    slots = _slots(connection)
    for cursor, group in groupby(rows, key=lambda row: row if by_score else (0.0, row[1] // SLOTS)):
        numbers = [row[1] for row in group]
        [key] = connection.execute("SELECT key FROM main.images WHERE no = ?", (numbers[0] // SLOTS,)).fetchone()
        hits.append(Hit(key, {slots[number % SLOTS] for number in numbers}, cursor))
        if len(hits) == limit:
            break
    return hits
