"""Figures about a whole description set, from its index."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sightwords.artifacts.description_index import SLOTS, DescriptionIndex


@dataclass(frozen=True)
class Sampled:
    """A usable description of a sample.

    Attributes:
        key: key of the image.
        class_name: of the image, empty where it has none.
        text: the description.
    """

    key: str
    class_name: str
    text: str


@dataclass(frozen=True)
class Repeated:
    """A text that several descriptions share, case, spaces and punctuation aside.

    Attributes:
        digest: number that they share, for `Filter.same_as`.
        num_descriptions: how many they are.
        key: key of one of the images.
        text: its text.
    """

    digest: int
    num_descriptions: int
    key: str
    text: str


def num_descriptions(index: DescriptionIndex) -> tuple[int, int]:
    """Return the number of descriptions and of images that are indexed."""
    with index.reading() as connection:
        row = connection.execute("SELECT (SELECT count(*) FROM texts), (SELECT count(*) FROM main.images)").fetchone()
    return int(row[0]), int(row[1])


def lengths(index: DescriptionIndex, width: int) -> dict[int, int]:
    """Return first number of words of each interval of `width` numbers -> number of usable descriptions."""
    query = (
        "SELECT num_words / ?1 * ?1 AS first, count(*) FROM texts WHERE status = 'ok' AND num_words > 0 GROUP BY first"
    )
    with index.reading() as connection:
        return dict(connection.execute(query, (width,)).fetchall())


def agreements(index: DescriptionIndex, width: float) -> dict[int, int]:
    """Return number of the interval of `width` -> number of descriptions with an agreement in it."""
    # not every SQLite has floor(), and CAST cuts towards zero: what is below is moved up into the positive first
    query = (
        "SELECT CAST(agreement / ?1 + ?2 AS INTEGER) - ?2 AS place, count(*) FROM texts "
        "WHERE agreement IS NOT NULL GROUP BY place"
    )
    with index.reading() as connection:
        return dict(connection.execute(query, (width, math.ceil(1 / width))).fetchall())


def sample(index: DescriptionIndex, most: int) -> list[Sampled]:
    """Return at most `most` usable descriptions, from all of the set alike."""
    query = (
        "SELECT i.key, k.name, w.text FROM texts AS t JOIN classes AS k ON k.id = t.class "
        f"JOIN main.images AS i ON i.no = t.id / {SLOTS} JOIN words AS w ON w.rowid = t.id "
        "WHERE t.row IN (SELECT row FROM texts INDEXED BY by_row WHERE row % ? = 0) AND t.status = 'ok' LIMIT ?"
    )
    with index.reading() as connection:
        [num_rows] = connection.execute("SELECT coalesce(max(row), 0) FROM texts").fetchone()
        rows = connection.execute(query, (max(1, -(-num_rows // most)), most)).fetchall()
    return [Sampled(key if isinstance(key, str) else key.hex(), name, text) for key, name, text in rows]


def repeated(index: DescriptionIndex, most: int) -> list[Repeated]:
    """Return the texts that most descriptions share, the most frequent first."""
    query = (
        "SELECT g.digest, g.n, i.key, w.text FROM (SELECT digest, count(*) AS n, min(id) AS id FROM texts "
        "WHERE digest != 0 GROUP BY digest HAVING n > 1 ORDER BY n DESC LIMIT ?) AS g "
        f"JOIN main.images AS i ON i.no = g.id / {SLOTS} JOIN words AS w ON w.rowid = g.id ORDER BY g.n DESC"
    )
    with index.reading() as connection:
        rows = connection.execute(query, (most,)).fetchall()
    return [Repeated(digest, n, key if isinstance(key, str) else key.hex(), text) for digest, n, key, text in rows]
