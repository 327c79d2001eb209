"""Accuracy where every image has one class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multilabel_average_precision,
)

NUM_BINS = 15


def expected_calibration_error(probabilities_NK: Tensor, labels_N: Tensor, num_bins: int = NUM_BINS) -> float:
    """Return the mean distance of score and accuracy over bins of the score, in [0, 1] (ECE, arXiv 1706.04599).

    Args:
        probabilities_NK: softmax scores, shape (N, K).
        labels_N: class indices, shape (N,).
        num_bins: bins of equal width.
    """
    error = multiclass_calibration_error(probabilities_NK, labels_N, probabilities_NK.shape[1], num_bins, "l1")
    return float(error.item())


def reliability(
    scores_N: np.ndarray, correct_N: np.ndarray, num_bins: int = NUM_BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean score, accuracy (both NaN where a bin is empty) and number of images of each bin, shape (num_bins,).

    Args:
        scores_N: score of the predicted class, in [0, 1], shape (N,).
        correct_N: whether it is right, bool, shape (N,).
        num_bins: bins of equal width.
    """
    bins = np.minimum((scores_N * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        sums = (np.bincount(bins, values, num_bins) for values in (scores_N, correct_N.astype(np.float64)))
        confidence, accuracy = (total / counts for total in sums)
    return confidence, accuracy, counts


def single_label_metrics(logits_NK: Tensor, labels_N: Tensor) -> dict[str, float]:
    """Return top-1, top-5 (with more than five classes) and mean per-class accuracy, each in [0, 1].

    Mean per-class accuracy is over the classes that occur.

    Args:
        logits_NK: outputs, shape (N, K).
        labels_N: class indices, shape (N,).
    """
    num_classes = logits_NK.shape[1]
    metrics = {"top1": _accuracy(logits_NK, labels_N, 1)}
    if num_classes > 5:
        metrics["top5"] = _accuracy(logits_NK, labels_N, 5)
    per_class = multiclass_accuracy(logits_NK, labels_N, num_classes, average=None)
    occurring = torch.bincount(labels_N, minlength=num_classes) > 0
    return {**metrics, "mean_per_class": per_class[occurring].mean().item()}


def confusion_matrix(logits_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Return counts, int64, shape (K, K): rows are true classes, columns predicted ones."""
    return torch.as_tensor(multiclass_confusion_matrix(logits_NK, labels_N, logits_NK.shape[1]))


def most_confused(matrix_KK: Tensor, num_pairs: int = 5) -> list[tuple[int, int, int]]:
    """Return (true class, predicted class, count) of the most frequent errors, most frequent first."""
    errors = matrix_KK.clone().fill_diagonal_(0)
    counts, places = errors.flatten().topk(min(num_pairs, errors.numel()))
    size = errors.shape[1]
    pairs = zip(places.tolist(), counts.tolist(), strict=True)
    return [(place // size, place % size, count) for place, count in pairs if count]


def _accuracy(logits_NK: Tensor, labels_N: Tensor, top_k: int) -> float:
    accuracy = multiclass_accuracy(logits_NK, labels_N, logits_NK.shape[1], average="micro", top_k=top_k)
    return float(accuracy.item())


def multi_label_metrics(logits_NK: Tensor, targets_NK: Tensor) -> dict[str, float]:
    """Return `map`: average precision of each class that occurs, averaged over these classes, in [0, 1].

    Args:
        logits_NK: outputs, shape (N, K).
        targets_NK: 0 or 1, shape (N, K).
    """
    occurring = targets_NK.sum(0) > 0
    logits, targets = logits_NK[:, occurring].sigmoid(), targets_NK[:, occurring].long()
    if targets.shape[1] < 2:  # the library's multilabel form needs two classes
        from torchmetrics.functional.classification import binary_average_precision

        return {"map": float(binary_average_precision(logits[:, 0], targets[:, 0]).item())}
    return {"map": float(multilabel_average_precision(logits, targets, targets.shape[1], average="macro").item())}
