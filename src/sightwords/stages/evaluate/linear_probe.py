"""A linear classifier on frozen features: what they hold, whatever the network's own classifier made of it."""

from __future__ import annotations

from torch import Tensor

from sightwords.logistic import fit_logistic

NUM_STEPS = 100
L2 = 1e-3


def linear_probe_accuracy(
    features_NF: Tensor, labels_N: Tensor, train_MF: Tensor, train_labels_M: Tensor, l2: float = L2
) -> float:
    """Return the top-1 accuracy of multinomial logistic regression on standardized features, fitted by L-BFGS.

    Deterministic: the loss is convex and the start is zero.

    Args:
        features_NF: features of the images to classify, shape (N, F).
        labels_N: their classes, shape (N,).
        train_MF: features of the training images, shape (M, F).
        train_labels_M: their classes, shape (M,).
        l2: factor of the squared weights, beside the mean loss.
    """
    mean, std = train_MF.mean(0), train_MF.std(0).clamp(min=1e-6)
    train, tested = (train_MF - mean) / std, (features_NF - mean) / std
    num_classes = int(max(labels_N.max(), train_labels_M.max())) + 1
    weight, bias = fit_logistic(train, train_labels_M, num_classes, l2, NUM_STEPS)
    predicted = (tested @ weight.T + bias).argmax(1)
    return float((predicted == labels_N).float().mean())
