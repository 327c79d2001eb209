"""How many labels are wrong, and which: what texts say of the classes, weighed against the labels.

The model: a label was replaced with probability e by another class, uniformly drawn; else it is the true class. A
classifier that has not seen the image gives its class as softmax(tau z). So the label y has the probability

    P(y | text) = (1 - e) p_y + e (1 - p_y) / (K - 1),    p = softmax(tau z),

and e and tau are those under which the labels that are there are likeliest. The classifier is fitted to labels some of
which are wrong, so it is too flat: tau makes up for that. Then Bayes' rule gives what the true class is.

Shapes: N images, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

SIGNIFICANT = 10.83  # of chi-squared with one degree of freedom: once in a thousand by chance
_LEAST_SHARE = 1e-6  # stands for none


@dataclass(frozen=True)
class LabelNoise:
    """How labels and texts disagree.

    Attributes:
        share: e, of the labels that are wrong; 0 where the texts give no evidence of any.
        sharpness: tau, the factor of the classifier's logits.
    """

    share: float
    sharpness: float

    @classmethod
    def fit(cls, logits_NK: Tensor, labels_N: Tensor, share: float | None = None) -> LabelNoise:
        """Return the likeliest, with a share of 0 unless a likelihood-ratio test speaks against that (p < 0.001).

        What tells wrong labels from texts that are vague is that clear texts contradict the label as often as others.
        Where all texts are alike in that, or know nothing of the classes, the test keeps the labels.

        Args:
            logits_NK: of classifiers that have not seen the image, float32.
            labels_N: the labels, int64.
            share: e where it is known.
        """
        num_classes = logits_NK.shape[1]
        most = 1 - 1 / num_classes  # beyond it, a label would speak against its own class

        def loss(share: float, sharpness: float) -> float:
            own = (logits_NK * sharpness).log_softmax(1).gather(1, labels_N[:, None])[:, 0].double().exp()
            likelihood = (1 - share) * own + share * (1 - own) / (num_classes - 1)
            return -float(likelihood.clamp(min=1e-12).log().mean())

        known = _LEAST_SHARE if share is None else share
        known_loss, (log_sharpness,) = _minimum(lambda x: loss(known, _exp(x[0])), [0.5])
        if share is not None:
            return cls(share, _exp(log_sharpness))
        free = [_minimum(lambda x: loss(most * _sigmoid(x[0]), _exp(x[1])), [start, 0.5]) for start in (-3.0, 0.0)]
        best_loss, (raw, best_log_sharpness) = min(free, key=lambda found: found[0])
        if 2 * len(labels_N) * (known_loss - best_loss) < SIGNIFICANT:
            return cls(0.0, _exp(log_sharpness))
        return cls(most * _sigmoid(raw), _exp(best_log_sharpness))

    def shares(self, logits_NK: Tensor, labels_N: Tensor) -> Tensor:
        """Return the probability of each class to be the true one, given text and label, float32, (N, K).

        Args:
            logits_NK: of classifiers that have not seen the image, float32.
            labels_N: the labels, int64; -1 where there is none, so that the text alone decides.
        """
        share = max(self.share, _LEAST_SHARE)
        factor = torch.full_like(logits_NK, share / (logits_NK.shape[1] - 1))
        factor.scatter_(1, labels_N.clamp(min=0)[:, None], 1 - share)
        factor[labels_N < 0] = 1
        return ((logits_NK * self.sharpness).log_softmax(1) + factor.log()).softmax(1)


def _minimum(function: Callable[[np.ndarray], float], start: list[float]) -> tuple[float, np.ndarray]:
    """Return the least value of a function of few parameters, and where it lies."""
    found = minimize(function, start, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-7, "maxfev": 200})
    return float(found.fun), found.x


def _sigmoid(x: float) -> float:
    return 1 / (1 + _exp(-x))


def _exp(x: float) -> float:
    return math.exp(min(max(x, -20.0), 20.0))
