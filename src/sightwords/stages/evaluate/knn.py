"""Nearest-neighbor classification in the pooled features: what the features know without the classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 1024  # rows compared at a time: memory is BLOCK x number of training images


def knn_accuracy(
    features_NF: Tensor, labels_N: Tensor, train_MF: Tensor, train_labels_M: Tensor, k: int, temperature: float = 0.07
) -> float:
    """Return the top-1 accuracy of a vote of the k nearest training images, weighted by exp(cosine / temperature).

    Not to be compared with the classifier's own accuracy: it measures features. Source of the weighting: DINO,
    arXiv 2104.14294, section 3.1.

    Args:
        features_NF: features of the images to classify, shape (N, F).
        labels_N: their classes, shape (N,).
        train_MF: features of the training images, shape (M, F).
        train_labels_M: their classes, shape (M,).
        k: number of neighbors; at most M are used.
        temperature: of the weights.
    """
    similarity, neighbors = nearest(features_NF, train_MF, k)
    num_classes = int(max(labels_N.max(), train_labels_M.max())) + 1
    votes = torch.zeros(len(features_NF), num_classes, dtype=similarity.dtype)
    votes.scatter_add_(1, train_labels_M[neighbors], (similarity / temperature).exp())
    return float((votes.argmax(1) == labels_N).float().mean())


def nearest(features_NF: Tensor, train_MF: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return cosines and rows of the k nearest training images of each image, nearest first, both (N, min(k, M))."""
    train = F.normalize(train_MF, dim=1)
    blocks = torch.split(features_NF, BLOCK)
    found = [(F.normalize(block, dim=1) @ train.T).topk(min(k, len(train))) for block in blocks]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])
