"""Words that are typical of a class: more frequent in its descriptions than in the others', beyond chance.

Log-odds with an informative Dirichlet prior and its z-score, as in Monroe, Colaresi and Quinn, "Fightin' Words",
Political Analysis 2008, equations 15, 20 and 22: rare words need more evidence, and no list of stop words is needed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

_WORD = re.compile(r"[^\W\d_]{2,}")
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
            counts.setdefault(class_name, Counter()).update(_WORD.findall(text.lower()))
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
