"""What the summary page shows of a description set: counts, words typical of each class, repeated texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sightwords.browsing.index import SLOTS, WORD, DescriptionIndex
from sightwords.browsing.query import choices

NUM_SAMPLED = 20_000
_NUM_BARS, _SCORE_WIDTH = 24, 0.02
_MAX_REASONS, _MAX_REPEATED, _MAX_PAIRS = 20, 12, 12
_LETTERS = re.compile(r"[^\W\d_]{2,}")
_NUM_NEIGHBORS = 4  # in each order, to which a text is compared
_MIN_COUNT, _MIN_Z = 3, 1.96  # of a word in its class
_MAX_PRIOR = 1000  # words of the whole set that the prior stands for; never more than the class has itself

Bar = tuple[str, int]
"""A bar of a histogram: its label and how many it counts."""


@dataclass(frozen=True)
class Example:
    """A description that the page shows; the class name is empty where the image has none."""

    key: str
    class_name: str
    text: str


@dataclass(frozen=True)
class Summary:
    """Counts of the whole set, and what a sample of it shows.

    Attributes:
        lengths: descriptions by their number of words.
        clip_scores: descriptions by CLIP score; empty where none was scored.
        repeated: (digest for `Query.same_as`, number of descriptions, one of them) of texts of the same words.
        num_sampled: descriptions that the figures below come from.
        typical: class -> its typical words, with z-scores.
        pairs: pairs of nearly the same texts, with their Jaccard similarity, from 0 to 1.
    """

    num_descriptions: int
    num_images: int
    statuses: list[tuple[str, int]]
    reasons: list[tuple[str, int]]
    lengths: list[Bar]
    clip_scores: list[Bar]
    repeated: list[tuple[int, int, Example]]
    num_sampled: int
    typical: dict[str, list[tuple[str, float]]]
    pairs: list[tuple[Example, Example, float]]


def summarize(index: DescriptionIndex) -> Summary:
    """Return the summary of what is indexed; typical words and pairs are of a sample, all else is counted."""
    with index.reading() as connection:
        [num_texts] = connection.execute("SELECT count(*) FROM texts").fetchone()
        [num_images] = connection.execute("SELECT count(*) FROM main.images").fetchone()
    sampled = _sample(index)
    pairs = near_duplicates([one.text for one in sampled], limit=_MAX_PAIRS)
    return Summary(
        num_descriptions=num_texts,
        num_images=num_images,
        statuses=choices(index, "status"),
        reasons=choices(index, "reason")[:_MAX_REASONS],
        lengths=_length_bars(index),
        clip_scores=_score_bars(index),
        repeated=_repeated(index),
        num_sampled=len(sampled),
        typical=typical_words((one.class_name, one.text) for one in sampled),
        pairs=[(sampled[a], sampled[b], similarity) for a, b, similarity in pairs],
    )


def near_duplicates(texts: Sequence[str], least: float = 0.7, limit: int = 30) -> list[tuple[int, int, float]]:
    """Return (position, position, similarity) of pairs of texts that are nearly but not quite the same words.

    Candidates are neighbors in the order of the texts, read forward and backward: those that differ in one place have a
    half in common (sorted neighborhood, Hernandez and Stolfo 1995).

    Args:
        texts: the texts.
        least: smallest Jaccard similarity of their word triples, from 0 to 1.
        limit: most pairs to return, the most similar first.
    """
    words = [WORD.findall(text.casefold()) for text in texts]
    triples = [frozenset(zip(own, own[1:], own[2:], strict=False)) for own in words]
    pairs: dict[tuple[int, int], float] = {}
    for step in (1, -1):
        order = sorted(range(len(texts)), key=lambda position: words[position][::step])
        for distance in range(1, _NUM_NEIGHBORS + 1):
            for a, b in map(sorted, zip(order, order[distance:], strict=False)):
                if num_all := len(triples[a] | triples[b]):
                    pairs[a, b] = len(triples[a] & triples[b]) / num_all
    close = [(a, b, similarity) for (a, b), similarity in pairs.items() if least <= similarity < 1]
    return sorted(close, key=lambda pair: (-pair[2], pair[:2]))[:limit]


def typical_words(texts: Iterable[tuple[str, str]], num_words: int = 8) -> dict[str, list[tuple[str, float]]]:
    """Return by class its most typical words with their z-scores, the most typical first.

    Log-odds with an informative Dirichlet prior (Monroe et al. 2008, "Fightin' Words").

    Args:
        texts: (class name, text) of descriptions; those without a class are left out.
        num_words: most words of a class.
    """
    counts: dict[str, Counter[str]] = {}
    for class_name, text in texts:
        if class_name:
            counts.setdefault(class_name, Counter()).update(_LETTERS.findall(text.lower()))
    everything: Counter[str] = Counter()
    for own in counts.values():
        everything.update(own)
    return {name: _typical(counts[name], everything, num_words) for name in sorted(counts)} if len(counts) > 1 else {}


def _typical(own: Counter[str], everything: Counter[str], num_words: int) -> list[tuple[str, float]]:
    words = [word for word, count in own.items() if count >= _MIN_COUNT]
    here, total = (np.array([counter[word] for word in words], np.float64) for counter in (own, everything))
    num_here, num_total = own.total(), everything.total()
    weight = min(_MAX_PRIOR, num_here)
    prior = weight * total / num_total
    inside, outside = here + prior, total - here + prior
    num_inside, num_outside = num_here + weight, num_total - num_here + weight
    odds = np.log(inside / (num_inside - inside)) - np.log(outside / (num_outside - outside))
    scores = odds / np.sqrt(1 / inside + 1 / outside)
    best = sorted(zip(words, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [(word, score) for word, score in best[:num_words] if score > _MIN_Z]


def _sample(index: DescriptionIndex) -> list[Example]:
    """Return usable descriptions, spread evenly over the set."""
    query = (
        f"SELECT i.key, t.class_name, w.text FROM texts AS t JOIN main.images AS i ON i.no = t.id / {SLOTS} "
        "JOIN words AS w ON w.rowid = t.id "
        "WHERE t.row IN (SELECT row FROM texts INDEXED BY by_row WHERE row % ? = 0) AND t.status = 'ok' LIMIT ?"
    )
    with index.reading() as connection:
        [num_rows] = connection.execute("SELECT coalesce(max(row), 0) FROM texts").fetchone()
        rows = connection.execute(query, (max(1, -(-num_rows // NUM_SAMPLED)), NUM_SAMPLED)).fetchall()
    return [Example(*row) for row in rows]


def _repeated(index: DescriptionIndex) -> list[tuple[int, int, Example]]:
    """Return digest, number and an example of the texts that most descriptions share, the most frequent first."""
    query = (
        "SELECT g.digest, g.n, i.key, w.text FROM (SELECT digest, count(*) AS n, min(id) AS id FROM texts "
        "WHERE digest != 0 GROUP BY digest HAVING n > 1 ORDER BY n DESC LIMIT ?) AS g "
        f"JOIN main.images AS i ON i.no = g.id / {SLOTS} JOIN words AS w ON w.rowid = g.id ORDER BY g.n DESC"
    )
    with index.reading() as connection:
        rows = connection.execute(query, (_MAX_REPEATED,)).fetchall()
    return [(digest, n, Example(key, "", text)) for digest, n, key, text in rows]


def _length_bars(index: DescriptionIndex) -> list[Bar]:
    """Return bars over the lengths that nearly all descriptions have; the last one holds what is longer."""
    query = "SELECT num_words, count(*) FROM texts WHERE status = 'ok' AND num_words > 0 GROUP BY 1 ORDER BY 1"
    with index.reading() as connection:
        rows = connection.execute(query).fetchall()
    if not rows:
        return []
    words, counts = np.array(rows).T
    low, high = int(words[0]), int(words[np.searchsorted(np.cumsum(counts), 0.99 * counts.sum())])
    width = -(-(high - low + 1) // _NUM_BARS)
    places = (np.minimum(words, high) - low) // width
    heights = np.bincount(places, counts).astype(int).tolist()
    firsts = [low + width * place for place in range(len(heights))]
    labels = [f"{first}" if width == 1 else f"{first} to {first + width - 1}" for first in firsts]
    if words[-1] >= firsts[-1] + width:
        labels[-1] = f"{firsts[-1]} or more"
    return list(zip(labels, heights, strict=True))


def _score_bars(index: DescriptionIndex) -> list[Bar]:
    query = "SELECT CAST((clip_score + 1) / ? AS INTEGER), count(*) FROM texts WHERE clip_score IS NOT NULL GROUP BY 1"
    with index.reading() as connection:
        found = dict(connection.execute(query, (_SCORE_WIDTH,)).fetchall())
    bars = range(min(found), max(found) + 1) if found else range(0)
    return [(f"{k * _SCORE_WIDTH - 1:.2f} to {(k + 1) * _SCORE_WIDTH - 1:.2f}", found.get(k, 0)) for k in bars]
