"""What the summary page tells about a description set."""

from __future__ import annotations

from dataclasses import dataclass

from sightwords.artifacts.description_index import DescriptionIndex
from sightwords.artifacts.description_query import choices
from sightwords.artifacts.description_stats import (
    Repeated,
    Sampled,
    agreements,
    lengths,
    num_descriptions,
    repeated,
    sample,
)
from sightwords.stages.browse.near_duplicates import near_duplicates
from sightwords.stages.browse.typical_words import typical_words

NUM_SAMPLED = 20_000
_NUM_BARS = 24
_AGREEMENT_WIDTH = 0.02
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
        agreements: descriptions by agreement of image and text; empty where it was not scored.
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
    agreements: list[Bar]
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
        _agreement_bars(index),
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


def _agreement_bars(index: DescriptionIndex) -> list[Bar]:
    found = agreements(index, _AGREEMENT_WIDTH)
    if not found:
        return []
    bars = []
    for place in range(min(found), max(found) + 1):
        low, high = place * _AGREEMENT_WIDTH, (place + 1) * _AGREEMENT_WIDTH
        bars.append(Bar(f"{low:.2f} to {high:.2f}", found.get(place, 0), low, high))
    return bars
