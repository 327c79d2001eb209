"""From what several witnesses say to one order of the images.

Shapes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from sightwords.stages.audit.witness import Verdict


@dataclass(frozen=True)
class Ranking:
    """How suspicious each image's label is.

    Attributes:
        suspicion: from 0 to 1, the mean of the witnesses' ranks, (N,); 1 where all find it the worst.
        suggested: the class that fits better, (N,), -1 where the label fits best.
        is_suspect: whether the label is probably wrong, see `suspects`, (N,).
    """

    suspicion: np.ndarray
    suggested: np.ndarray
    is_suspect: np.ndarray

    def order(self) -> np.ndarray:
        """Return the images, the most suspicious first, (N,)."""
        return np.argsort(-self.suspicion, kind="stable")


def rank(agreement: Verdict, probes: Sequence[Verdict], labels: np.ndarray, num_classes: int) -> Ranking:
    """Return how suspicious labels are: each witness ranks all images, and the mean of the ranks counts.

    Ranks need no scale that is common to cosines and probabilities.

    Args:
        agreement: of text and class, by cosine; its margin counts.
        probes: probabilities, of text first and of image features where there are any; that of the label counts.
        labels: classes, (N,).
        num_classes: K.
    """
    goodness = [agreement.margin, *(probe.own for probe in probes)]
    ranks = np.mean([rankdata(-values) for values in goodness], axis=0)
    votes = [np.where(verdict.margin < 0, verdict.other, -1) for verdict in (*probes, agreement)]
    suggested = np.full(len(labels), -1)
    for vote in reversed(votes):  # the text's probe has the first word
        suggested = np.where(vote >= 0, vote, suggested)
    return Ranking(ranks / len(labels), suggested, suspects(probes[0], labels, num_classes))


def suspects(probe: Verdict, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return which labels are probably wrong, boolean, (N,): another class is likelier, and as likely as for its own.

    The threshold of a class is the mean probability that its own images give it. Source: confident learning,
    arXiv 1911.00068, section 3.1, with the best other class alone looked at.

    Args:
        probe: out-of-fold probabilities.
        labels: classes, (N,).
        num_classes: K.
    """
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=probe.own.astype(np.float64), minlength=num_classes)
    threshold = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    return np.asarray((probe.margin < 0) & (probe.best >= threshold[probe.other]))
