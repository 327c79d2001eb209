"""What outputs and features are worth: accuracy, calibration, confusions, nearest neighbors, a linear probe.

Shapes: N images, K classes, M training images, F width of the feature.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sightwords.labels.noise import fit_logistic

NUM_BINS = 15
_BLOCK = 1024  # rows compared at a time: memory is _BLOCK x number of training images
_TEMPERATURE = 0.07
_PROBE_STEPS, _PROBE_L2 = 100, 1e-3


def single_label_metrics(logits_NK: Tensor, labels_N: Tensor) -> dict[str, float]:
    """Return top-1, top-5 (with more than five classes), mean per-class accuracy and calibration error, in [0, 1].

    The mean per class is over the classes that occur. The calibration error is the mean distance of score and accuracy
    over bins of the score (ECE, arXiv 1706.04599).

    Args:
        logits_NK: outputs, float32 or float64, on the CPU, shape (N, K).
        labels_N: class indices, int64, shape (N,).
    """
    num_classes, num_images = logits_NK.shape[1], len(labels_N)
    ranked = logits_NK.topk(min(5, num_classes)).indices == labels_N[:, None]
    metrics = {f"top{k}": ranked[:, :k].sum().item() / num_images for k in (1, 5) if k < num_classes}
    is_right = ranked[:, 0]
    num_right, num_all = (torch.bincount(some, minlength=num_classes) for some in (labels_N[is_right], labels_N))
    per_class = (num_right / num_all)[num_all > 0]
    scores = logits_NK.softmax(1).amax(1)
    bins = reliability(scores.numpy(), is_right.numpy())
    ece = sum(abs(score - accuracy) * num for score, accuracy, num in bins) / num_images
    return {**metrics, "mean_per_class": per_class.mean().item(), "ece": ece}


def multi_label_metrics(logits_NK: Tensor, targets_NK: Tensor) -> dict[str, float]:
    """Return `map`: average precision of each class that occurs, averaged over these classes, in [0, 1].

    Args:
        logits_NK: outputs, float32 or float64, on the CPU, shape (N, K).
        targets_NK: 0 or 1, shape (N, K).
    """
    from sklearn.metrics import average_precision_score  # for images of several labels alone

    occurring = targets_NK.any(0)
    scores, targets = logits_NK.sigmoid()[:, occurring].numpy(), targets_NK[:, occurring].numpy()
    return {"map": float(average_precision_score(targets, scores))}


def reliability(
    scores_N: np.ndarray, correct_N: np.ndarray, num_bins: int = NUM_BINS
) -> list[tuple[float, float, int]]:
    """Return mean score, accuracy and number of images of each bin of the score that has any, lowest first.

    Args:
        scores_N: score of the predicted class, in [0, 1], shape (N,).
        correct_N: whether it is right, bool, shape (N,).
        num_bins: bins of equal width.
    """
    bins = np.minimum((scores_N * num_bins).astype(int), num_bins - 1)
    groups = [bins == i for i in np.unique(bins)]
    return [(float(scores_N[own].mean()), float(correct_N[own].mean()), int(own.sum())) for own in groups]


def confusion_matrix(logits_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Return counts, int64, shape (K, K): rows are true classes, columns predicted ones."""
    num_classes = logits_NK.shape[1]
    pairs = labels_N * num_classes + logits_NK.argmax(1)
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def most_confused(matrix_KK: Tensor, num_pairs: int = 5) -> list[tuple[int, int, int]]:
    """Return (true class, predicted class, count) of the most frequent errors, most frequent first."""
    errors = matrix_KK.clone().fill_diagonal_(0)
    counts, places = errors.flatten().topk(min(num_pairs, errors.numel()))
    pairs = zip(places.tolist(), counts.tolist(), strict=True)
    return [(*divmod(place, len(errors)), count) for place, count in pairs if count]


def nearest(features_NF: Tensor, train_MF: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return cosines and rows of the k nearest training images of each image, nearest first, both (N, min(k, M))."""
    train = F.normalize(train_MF, dim=1)
    blocks = torch.split(features_NF, _BLOCK)
    found = [(F.normalize(block, dim=1) @ train.T).topk(min(k, len(train))) for block in blocks]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def knn_accuracy(features_NF: Tensor, labels_N: Tensor, train_MF: Tensor, train_labels_M: Tensor, k: int) -> float:
    """Return the top-1 accuracy of a vote of the k nearest training images, weighted by exp(cosine / 0.07).

    Not to be compared with the classifier's own accuracy: it measures features. Source of the weighting: DINO,
    arXiv 2104.14294, section 3.1.

    Args:
        features_NF: features of the images to classify, shape (N, F).
        labels_N: their classes, shape (N,).
        train_MF: features of the training images, shape (M, F).
        train_labels_M: their classes, shape (M,).
        k: number of neighbors; at most M are used.
    """
    similarity, neighbors = nearest(features_NF, train_MF, k)
    votes = torch.zeros(len(features_NF), int(train_labels_M.max()) + 1, dtype=similarity.dtype)
    votes.scatter_add_(1, train_labels_M[neighbors], (similarity / _TEMPERATURE).exp())
    return (votes.argmax(1) == labels_N).float().mean().item()


def linear_probe_accuracy(features_NF: Tensor, labels_N: Tensor, train_MF: Tensor, train_labels_M: Tensor) -> float:
    """Return the top-1 accuracy of multinomial logistic regression on standardized features, fitted by L-BFGS.

    Deterministic: the loss is convex and the start is zero.

    Arguments as for `knn_accuracy`.
    """
    mean, std = train_MF.mean(0), train_MF.std(0).clamp(min=1e-6)
    num_classes = int(max(labels_N.max(), train_labels_M.max())) + 1
    weight, bias = fit_logistic((train_MF - mean) / std, train_labels_M, num_classes, _PROBE_L2, _PROBE_STEPS)
    predicted = ((features_NF - mean) / std @ weight.T + bias).argmax(1)
    return (predicted == labels_N).float().mean().item()
