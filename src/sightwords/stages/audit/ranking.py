"""From what several witnesses say to one order of the images.

Shapes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from sightwords.stages.audit.witness import Verdict

RATIO = 10  # chosen on swapped labels of emoji, seeds 100 and 101: two thirds of those it names were wrong


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


def rank(agreement: Verdict, probes: Sequence[Verdict]) -> Ranking:
    """Return how suspicious labels are: each witness ranks all images, and the mean of the ranks counts.

    Ranks need no scale that is common to cosines and probabilities.

    Args:
        agreement: of text and class, by cosine; its margin counts.
        probes: probabilities, of text first and of image features where there are any; that of the label counts.
    """
    goodness = [agreement.margin, *(probe.own for probe in probes)]
    ranks = np.mean([rankdata(-values) for values in goodness], axis=0)
    votes = [np.where(verdict.margin < 0, verdict.other, -1) for verdict in (*probes, agreement)]
    suggested = np.full(len(ranks), -1)
    for vote in reversed(votes):  # the text's probe has the first word
        suggested = np.where(vote >= 0, vote, suggested)
    return Ranking(ranks / len(ranks), suggested, suspects(agreement, probes[0]))


def suspects(agreement: Verdict, probe: Verdict) -> np.ndarray:
    """Return which labels are probably wrong, boolean, (N,): both witnesses of the text name the same other class.

    The description is nearer to that class, and the classifier finds it `RATIO` times likelier than the label.

    Args:
        agreement: of text and class, by cosine.
        probe: probabilities, of text.
    """
    same = agreement.other == probe.other
    return np.asarray(same & (agreement.margin < 0) & (probe.best >= RATIO * probe.own))
