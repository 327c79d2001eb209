"""Texts that say nearly the same: MinHash finds candidates, the share of common word triples decides."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

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
