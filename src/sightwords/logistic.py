"""Multinomial logistic regression on vectors; deterministic: the loss is convex, and the start is zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_logistic(
    vectors_NF: Tensor, labels_N: Tensor, num_classes: int, l2: float, max_steps: int
) -> tuple[Tensor, Tensor]:
    """Return weight (K, F) and bias (K,) of the classifier, fitted by L-BFGS.

    Args:
        vectors_NF: training vectors, shape (N, F), float.
        labels_N: their classes, 0 to K - 1, shape (N,).
        num_classes: K.
        l2: factor of the squared weights, beside the mean cross-entropy.
        max_steps: most steps of L-BFGS.
    """
    weight = vectors_NF.new_zeros(num_classes, vectors_NF.shape[1]).requires_grad_()
    bias = vectors_NF.new_zeros(num_classes).requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=max_steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(vectors_NF @ weight.T + bias, labels_N) + l2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()
