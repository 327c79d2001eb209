"""Accuracy where every image has one class."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix


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
