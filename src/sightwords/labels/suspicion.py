"""How suspicious each label is, from classifiers that have not seen the image.

Shapes: N images, K classes, D width of the text vectors, F width of the image features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor

from sightwords.labels.noise import Probe, folds_of
from sightwords.progress import Progress

RATIO = 10  # chosen on swapped labels of emoji, seeds 100 and 101: two thirds of those it names were wrong

Classifier = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(N, D) vectors of known images, (N,) their labels, (M, D) vectors of others, K -> (M, K) scores of the others."""


@dataclass(frozen=True)
class OutOfFold:
    """What a classifier that was fitted without an image says of its label.

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


@dataclass(frozen=True)
class Suspicion:
    """What was found about each label.

    Attributes:
        similarity: cosine of the text with the mean text of each class.
        text: probabilities by a linear probe of the text vectors.
        image: probabilities by a linear probe of image features, where there are any.
        rank: mean of the ranks that these give, from 0 to 1, (N,); 1 where all find the label the worst.
        suggested: the class that fits better, (N,), -1 where the label fits best.
        is_suspect: whether the label is probably wrong, see `suspects`, (N,).
    """

    similarity: OutOfFold
    text: OutOfFold
    image: OutOfFold | None
    rank: np.ndarray
    suggested: np.ndarray
    is_suspect: np.ndarray

    def order(self) -> np.ndarray:
        """Return the images, the most suspicious first, (N,)."""
        return np.argsort(-self.rank, kind="stable")


def find_suspicion(
    vectors: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    num_classes: int,
    features: np.ndarray | None = None,
    num_folds: int = 10,
    seed: int = 0,
    device: torch.device | None = None,
    show: bool = True,
) -> Suspicion:
    """Score every label by classifiers fitted to the other folds, and rank them.

    Ranks need no scale that is common to cosines and probabilities.

    Args:
        vectors: text vectors, float32, (N, D).
        labels: classes, int64, (N,).
        groups: the same number for images that share a text, (N,).
        num_classes: K.
        features: image features, float32, (N, F); a row of NaN where an image could not be read.
        num_folds: parts of the data.
        seed: of the parts.
        device: where to compute; None is the CPU.
        show: whether to show progress.
    """
    folds = folds_of(groups, labels, num_folds, seed)
    text_ND = torch.from_numpy(vectors).to(device or "cpu")
    with Progress("Auditing", len(labels) * (2 + (features is not None)), "labels", enabled=show) as progress:

        def scores(classifier: Classifier, vectors_ND: Tensor) -> OutOfFold:
            return out_of_fold(classifier, vectors_ND, labels, folds, num_classes, progress.advance)

        similarity, text = scores(by_centroid, text_ND), scores(by_probe, text_ND)
        image = None
        if features is not None:
            seen = ~np.isnan(features[:, 0])
            filled = torch.from_numpy(np.where(seen[:, None], features, features[seen].mean(0))).to(text_ND.device)
            image = _neutral_where(~seen, scores(by_probe, filled))
    probes = [text] if image is None else [text, image]
    ranks = np.mean([rankdata(-values) for values in (similarity.margin, *(probe.own for probe in probes))], axis=0)
    suggested = np.full(len(labels), -1)
    for one in (similarity, *reversed(probes)):  # the text's probe has the last word
        suggested = np.where(one.margin < 0, one.other, suggested)
    return Suspicion(similarity, text, image, ranks / len(ranks), suggested, suspects(similarity, text))


def suspects(similarity: OutOfFold, probe: OutOfFold) -> np.ndarray:
    """Return which labels are probably wrong, boolean, (N,): both classifiers of the text name the same other class.

    The description is nearer to that class, and the probe finds it `RATIO` times likelier than the label.

    Args:
        similarity: of text and class, by cosine.
        probe: probabilities, of text.
    """
    same = similarity.other == probe.other
    return np.asarray(same & (similarity.margin < 0) & (probe.best >= RATIO * probe.own))


def out_of_fold(
    classifier: Classifier,
    vectors: Tensor,
    labels: np.ndarray,
    folds: np.ndarray,
    num_classes: int,
    advance: Callable[[int], None],
) -> OutOfFold:
    """Return a classifier's scores of every fold, fitted to the others.

    Args:
        classifier: `by_centroid`, `by_probe` or the like.
        vectors: float32, (N, D), on the device to compute on.
        labels: classes, int64, (N,).
        folds: fold of each image, (N,).
        num_classes: K.
        advance: called with the number of images that are done.
    """
    own, best = (np.empty(len(labels), np.float32) for _ in range(2))
    other = np.empty(len(labels), np.int64)
    known = torch.from_numpy(labels).to(vectors.device)
    for fold in np.unique(folds):
        out = np.flatnonzero(folds == fold)
        rest = torch.from_numpy(np.flatnonzero(folds != fold)).to(vectors.device)
        scores = classifier(vectors[rest], known[rest], vectors[torch.from_numpy(out).to(vectors.device)], num_classes)
        scores = scores.float().cpu()
        label = torch.from_numpy(labels[out])[:, None]
        own[out] = scores.gather(1, label)[:, 0].numpy()
        highest = scores.scatter(1, label, -torch.inf).max(1)
        best[out], other[out] = highest.values.numpy(), highest.indices.numpy()
        advance(len(out))
    return OutOfFold(own, best, other)


def by_centroid(known_ND: Tensor, labels_N: Tensor, others_MD: Tensor, num_classes: int) -> Tensor:
    """Return the cosine of each vector with the mean vector of each class, (M, K); -1 for a class without images."""
    total_KD = known_ND.new_zeros(num_classes, known_ND.shape[1]).index_add_(0, labels_N, F.normalize(known_ND, dim=1))
    cosines = F.normalize(others_MD, dim=1) @ F.normalize(total_KD, dim=1).T
    present = torch.bincount(labels_N, minlength=num_classes) > 0
    return torch.where(present, cosines, -1.0)


def by_probe(known_ND: Tensor, labels_N: Tensor, others_MD: Tensor, num_classes: int) -> Tensor:
    """Return the probability of each class by multinomial logistic regression, (M, K)."""
    return Probe.fit(known_ND, labels_N, num_classes).logits(others_MD).softmax(1)


def _neutral_where(unseen: np.ndarray, scores: OutOfFold) -> OutOfFold:
    """Return scores that speak neither for nor against images that could not be read."""
    middle = np.median(scores.own)
    own, best = np.where(unseen, middle, scores.own), np.where(unseen, middle, scores.best)
    return OutOfFold(own, best, scores.other)
