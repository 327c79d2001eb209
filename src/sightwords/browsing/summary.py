"""What the summary page tells about a description set."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sightwords.browsing.index import (
    DescriptionIndex,
    Repeated,
    Sampled,
    clip_scores,
    lengths,
    num_descriptions,
    repeated,
    sample,
)
from sightwords.browsing.query import choices

_WORD = re.compile(r"\w+")
_BANDS, _ROWS = 12, 4  # pairs with 0.7 of their triples in common share a band in 97 of 100 cases
_MOST_IN_BUCKET = 50  # all pairs of a bucket are compared


def near_duplicates(texts: Sequence[str], least: float = 0.7, most: int = 30) -> list[tuple[int, int, float]]:
    """Return (position, position, likeness) of pairs of texts that are nearly but not quite the same words.

    Args:
        texts: the texts.
        least: smallest likeness: of the word triples of both, the share that both have (Jaccard).
        most: pairs to return, the most alike first.
    """
    triples = [_triples(text) for text in texts]
    pairs: set[tuple[int, int]] = set()
    for bucket in _buckets(triples):
        own = bucket[:_MOST_IN_BUCKET]
        pairs.update((a, b) for i, a in enumerate(own) for b in own[i + 1 :])
    found = [(a, b, _likeness(triples[a], triples[b])) for a, b in pairs]
    close = [pair for pair in found if least <= pair[2] < 1]
    return sorted(close, key=lambda pair: (-pair[2], pair[:2]))[:most]


def _triples(text: str) -> frozenset[int]:
    words = _WORD.findall(text.casefold())
    return frozenset(zlib.crc32(" ".join(words[i : i + 3]).encode()) for i in range(len(words) - 2))


def _buckets(triples: Sequence[frozenset[int]]) -> list[list[int]]:
    """Return groups of positions whose signatures agree in a band."""
    random = np.random.default_rng(0)
    factors = random.integers(1, 2**61, _BANDS * _ROWS, dtype=np.uint64) | np.uint64(1)
    buckets: dict[tuple[int, bytes], list[int]] = {}
    for position, own in enumerate(triples):
        if not own:
            continue
        hashed = np.fromiter(own, np.uint64, len(own))[:, None] * factors  # wraps around: that mixes
        signature = (hashed >> np.uint64(32)).min(axis=0).astype(np.uint32)
        for band in range(_BANDS):
            place = (band, signature[band * _ROWS : (band + 1) * _ROWS].tobytes())
            buckets.setdefault(place, []).append(position)
    return [bucket for bucket in buckets.values() if len(bucket) > 1]


def _likeness(first: frozenset[int], second: frozenset[int]) -> float:
    return len(first & second) / len(first | second)


_WORD_TYPICAL_WORDS = re.compile(r"[^\W\d_]{2,}")
_LEAST_COUNT = 3  # of a word in the class
_LEAST_Z = 1.96
_MOST_PRIOR = 1000  # words of the whole set that the prior stands for; never more than the class has itself


def typical_words(texts: Iterable[tuple[str, str]], num_words: int = 8) -> dict[str, list[tuple[str, float]]]:
    """Return by class its most typical words with their z-scores, the most typical first.

    Args:
        texts: (class name, text) of descriptions; those without a class are left out.
        num_words: most words of a class.
    """
    counts: dict[str, Counter[str]] = {}
    for class_name, text in texts:
        if class_name:
            counts.setdefault(class_name, Counter()).update(_WORD_TYPICAL_WORDS.findall(text.lower()))
    everything: Counter[str] = Counter()
    for own in counts.values():
        everything.update(own)
    if len(counts) < 2:
        return {}
    return {name: _typical(counts[name], everything, num_words) for name in sorted(counts)}


def _typical(own: Counter[str], everything: Counter[str], num_words: int) -> list[tuple[str, float]]:
    words = [word for word, count in own.items() if count >= _LEAST_COUNT]
    here = np.array([own[word] for word in words], np.float64)
    total = np.array([everything[word] for word in words], np.float64)
    num_here, num_total = own.total(), everything.total()
    weight = min(_MOST_PRIOR, num_here)
    prior = weight * total / num_total
    inside, outside = here + prior, total - here + prior
    num_inside, num_outside = num_here + weight, num_total - num_here + weight
    odds = np.log(inside / (num_inside - inside)) - np.log(outside / (num_outside - outside))
    scores = odds / np.sqrt(1 / inside + 1 / outside)
    best = sorted(zip(words, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [(word, score) for word, score in best[:num_words] if score > _LEAST_Z]


NUM_SAMPLED = 20_000
_NUM_BARS = 24
_CLIP_SCORE_WIDTH = 0.02
_MOST_REASONS, _MOST_REPEATED, _MOST_PAIRS = 20, 12, 12


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram.

    Attributes:
        label: what it counts.
        count: how many.
        low: where it begins, for a look at what it counts.
        high: where it ends, itself left out.
    """

    label: str
    count: int
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Summary:
    """Figures and examples.

    Attributes:
        num_descriptions: all descriptions.
        num_images: images that have one.
        statuses: status and number.
        reasons: reason and number, the most frequent first.
        lengths: descriptions by their number of words.
        clip_scores: descriptions by CLIP score; empty where it was not scored.
        num_sampled: descriptions that the figures below come from.
        typical: class -> its typical words, with z-scores.
        repeated: texts that several descriptions share.
        pairs: pairs of nearly the same texts, with their likeness.
    """

    num_descriptions: int
    num_images: int
    statuses: list[tuple[str, int]]
    reasons: list[tuple[str, int]]
    lengths: list[Bar]
    clip_scores: list[Bar]
    num_sampled: int
    typical: dict[str, list[tuple[str, float]]]
    repeated: list[Repeated]
    pairs: list[tuple[Sampled, Sampled, float]]


def summarize(index: DescriptionIndex) -> Summary:
    """Return the summary of what is indexed; words and pairs are of a sample, all else is counted."""
    num_texts, num_images = num_descriptions(index)
    sampled = sample(index, NUM_SAMPLED)
    pairs = near_duplicates([one.text for one in sampled], most=_MOST_PAIRS)
    return Summary(
        num_texts,
        num_images,
        choices(index, "status"),
        choices(index, "reason")[:_MOST_REASONS],
        _length_bars(index),
        _clip_score_bars(index),
        len(sampled),
        typical_words((one.class_name, one.text) for one in sampled),
        repeated(index, _MOST_REPEATED),
        [(sampled[a], sampled[b], likeness) for a, b, likeness in pairs],
    )


def _length_bars(index: DescriptionIndex) -> list[Bar]:
    """Return bars over the lengths that nearly all descriptions have; the last one holds what is longer."""
    single = lengths(index, 1)
    if not single:
        return []
    low, high = _quantile(single, 0.0), _quantile(single, 0.99)
    width = max(1, -(-(high - low + 1) // _NUM_BARS))
    bars = []
    for first in range(low, high + 1, width):
        last = first + width > high
        count = sum(n for words, n in single.items() if words >= first and (last or words < first + width))
        label = f"{first}" if width == 1 else f"{first} to {first + width - 1}"
        longer = last and max(single) >= first + width
        bars.append(Bar(f"{first} or more" if longer else label, count, first, first + width))
    return bars


def _quantile(counts: dict[int, int], share: float) -> int:
    total, seen = sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= share * total:
            return value
    return max(counts)


def _clip_score_bars(index: DescriptionIndex) -> list[Bar]:
    found = clip_scores(index, _CLIP_SCORE_WIDTH)
    if not found:
        return []
    bars = []
    for place in range(min(found), max(found) + 1):
        low, high = place * _CLIP_SCORE_WIDTH, (place + 1) * _CLIP_SCORE_WIDTH
        bars.append(Bar(f"{low:.2f} to {high:.2f}", found.get(place, 0), low, high))
    return bars
