"""What vectors say of labels that they were not shown: cross-validated, so that no image vouches for itself.

Shapes: N images, D width of a vector, K classes, R texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sightwords.logistic import fit_logistic

NUM_STEPS = 60
L2 = 1e-4

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


def groups_of(owners: np.ndarray, rows: np.ndarray, num_images: int) -> np.ndarray:
    """Return a number for each image, the same for images that share a text, int64, (N,).

    Images with one text must be judged together: else the text would vouch for itself.

    Args:
        owners: image of each description, (R,).
        rows: text of each description, (R,).
        num_images: N.
    """
    texts = rows.astype(np.int64) + num_images
    size = int(texts.max(initial=num_images)) + 1
    graph = coo_array((np.ones(len(owners), np.int8), (owners, texts)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][:num_images], np.int64)


def folds_of(groups: np.ndarray, labels: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """Return the part of each image, int64, (N,): groups stay together, and each class is spread evenly.

    Args:
        groups: see `groups_of`.
        labels: classes; a group counts as the class of its first image.
        num_folds: parts; at most as many as there are groups.
        seed: of the order within a class.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).permutation(len(first)), labels[first]))
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % min(num_folds, len(first))
    return np.asarray(fold[group])


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
    """Return the probability of each class by multinomial logistic regression, (M, K), fitted by L-BFGS.

    Vectors are standardised and given unit length, so that one penalty suits text vectors and image features alike.
    """
    mean, std = known_ND.mean(0), known_ND.std(0).clamp(min=1e-6)
    known, others = (F.normalize((x - mean) / std, dim=1) for x in (known_ND, others_MD))
    weight, bias = fit_logistic(known, labels_N, num_classes, L2, NUM_STEPS)
    return (others @ weight.T + bias).softmax(1)
