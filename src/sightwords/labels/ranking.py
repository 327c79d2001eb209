"""From what several witnesses say to one order of the images.

Shapes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor

from sightwords.labels.noise import Probe

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Verdict:
    """What a judge says of each image, from the others.

    Attributes:
        own: score of the image's label, float32, (N,).
        best: score of the best other class, float32, (N,).
        other: that class, int64, (N,).
    """

    own: np.ndarray
    best: np.ndarray
    other: np.ndarray

    @property
    def margin(self) -> np.ndarray:
        """How far the label is ahead of the best other class, float32, (N,); negative where it is behind."""
        return np.asarray(self.own - self.best)


Judge = Callable[[Tensor, Tensor, Tensor, int], Tensor]


"""(N, D) vectors of known images, (N,) their labels, (M, D) vectors of others, K -> (M, K) scores of the others."""


def judged(
    judge: Judge, vectors: Tensor, labels: np.ndarray, folds: np.ndarray, num_classes: int, advance: Advance
) -> Verdict:
    """Return what a judge says of every part after it saw the others.

    Args:
        judge: who says it.
        vectors: float32, (N, D), on the device to compute on.
        labels: classes, int64, (N,).
        folds: part of each image, (N,).
        num_classes: K.
        advance: called with the number of images judged.
    """
    own, best = (np.empty(len(labels), np.float32) for _ in range(2))
    other = np.empty(len(labels), np.int64)
    known = torch.from_numpy(labels).to(vectors.device)
    for fold in np.unique(folds):
        out = np.flatnonzero(folds == fold)
        rest = torch.from_numpy(np.flatnonzero(folds != fold)).to(vectors.device)
        scores = judge(vectors[rest], known[rest], vectors[torch.from_numpy(out).to(vectors.device)], num_classes)
        scores = scores.float().cpu()
        label = torch.from_numpy(labels[out])[:, None]
        own[out] = scores.gather(1, label)[:, 0].numpy()
        highest = scores.scatter(1, label, -torch.inf).max(1)
        best[out], other[out] = highest.values.numpy(), highest.indices.numpy()
        advance(len(out))
    return Verdict(own, best, other)


def by_centroid(known_ND: Tensor, labels_N: Tensor, others_MD: Tensor, num_classes: int) -> Tensor:
    """Return the cosine of each vector with the mean vector of each class, (M, K); -1 for a class without images."""
    total_KD = known_ND.new_zeros(num_classes, known_ND.shape[1]).index_add_(0, labels_N, F.normalize(known_ND, dim=1))
    cosines = F.normalize(others_MD, dim=1) @ F.normalize(total_KD, dim=1).T
    present = torch.bincount(labels_N, minlength=num_classes) > 0
    return torch.where(present, cosines, -1.0)


def by_probe(known_ND: Tensor, labels_N: Tensor, others_MD: Tensor, num_classes: int) -> Tensor:
    """Return the probability of each class by multinomial logistic regression, (M, K)."""
    return Probe.fit(known_ND, labels_N, num_classes).logits(others_MD).softmax(1)


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
