"""Whether a network's scores are the accuracies that they claim to be."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

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
