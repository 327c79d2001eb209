"""A linear classifier of text vectors, or of image features.

Shapes: N known vectors, M others, D their width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from sightwords.logistic import fit_logistic

NUM_STEPS = 60
L2 = 1e-4


@dataclass(frozen=True)
class Probe:
    """Multinomial logistic regression on vectors that are standardized and given unit length.

    So one penalty suits text vectors and image features alike.

    Attributes:
        mean: of the known vectors, (D,).
        std: their standard deviation, (D,).
        weight: (K, D).
        bias: (K,).
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, known_ND: Tensor, labels_N: Tensor, num_classes: int) -> Probe:
        """Fit by L-BFGS.

        Args:
            known_ND: float32.
            labels_N: their classes, int64.
            num_classes: K.
        """
        mean, std = known_ND.mean(0), known_ND.std(0).clamp(min=1e-6)
        known = F.normalize((known_ND - mean) / std, dim=1)
        return cls(mean, std, *fit_logistic(known, labels_N, num_classes, L2, NUM_STEPS))

    def logits(self, others_MD: Tensor) -> Tensor:
        """Return the logits of each class, (M, K)."""
        return F.normalize((others_MD - self.mean) / self.std, dim=1) @ self.weight.T + self.bias
