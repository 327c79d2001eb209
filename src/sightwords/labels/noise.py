"""How many labels are wrong, and which: what texts say of the classes, weighed against the labels.

The model: a label was replaced with probability e by another class, uniformly drawn; else it is the true class. A
classifier that has not seen the image gives its class as softmax(tau z). So the label y has the probability

    P(y | text) = (1 - e) p_y + e (1 - p_y) / (K - 1),    p = softmax(tau z),

and e and tau are those under which the labels that are there are likeliest. The classifier is fitted to labels some of
which are wrong, so it is too flat: tau makes up for that. Then Bayes' rule gives what the true class is.

People rather take a class for one that is like it. So a second model has P(label | class), a matrix, in place of e. It
is used where it predicts labels that it was not fitted to clearly better (by `MIN_GAIN` for each).

Shapes: N images, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from torch import Tensor

from sightwords.descriptions.schema import Prompt
from sightwords.text.embedding_set import EmbeddingSet

SIGNIFICANT = 10.83  # of chi-squared with one degree of freedom: once in a thousand by chance
PLAUSIBLE = 1.92  # of the log-likelihood: half the 95% point of chi-squared
NUM_STEPS, L2 = 60, 1e-4  # of the probe
_MIN_RATE = 1e-6  # stands for none
MIN_GAIN = 0.05  # nats a label; the garments as their owners labeled them have 0.036, and 0.055 with 5 % mistaken
PRIOR_COUNT = 5.0


def groups_of(owners: np.ndarray, rows: np.ndarray, num_images: int) -> np.ndarray:
    """Return a number for each image, the same for images that share a text, int64, (N,).

    Such images belong into one fold: else a classifier would have seen the text that it is to score. `owners` and
    `rows`, (R,), are the image and the text of each description.
    """
    texts = rows.astype(np.int64) + num_images
    size = int(texts.max(initial=num_images)) + 1
    graph = coo_array((np.ones(len(owners), np.int8), (owners, texts)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][:num_images], np.int64)


def folds_of(groups: np.ndarray, labels: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each image, int64, (N,): groups stay together, and each class is spread evenly.

    A group counts as the class of its first image; there are at most as many folds as groups.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).permutation(len(first)), labels[first]))
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % min(num_folds, len(first))
    return np.asarray(fold[group])


def prompt_warnings(embeddings: EmbeddingSet) -> list[str]:
    """Return a warning if a prompt gave the describer the label."""
    asked = [Prompt(one["name"], one["version"], one["template"]) for one in embeddings.meta.get("prompt_texts", [])]
    names = sorted({prompt.name for prompt in asked if prompt.names_class})
    return names and [
        f"The prompt {', '.join(names)} contains the label, so its descriptions support wrong labels too. To find or "
        "correct wrong labels, describe with --prompt plain."
    ]


class Witness(NamedTuple):
    """Answers that come from elsewhere than the labels, and count as a few of these.

    `logits`, (P, C), by the texts, float32; `answers`, (P,), int64; all together they count as `worth` labels.
    """

    logits: Tensor
    answers: Tensor
    worth: float


@dataclass(frozen=True)
class LabelNoise:
    """How labels and texts disagree.

    Attributes:
        rate: e, the noise rate; 0 where the texts give no evidence of wrong labels.
        sharpness: tau, the factor of the classifier's logits.
        confusion: P(label | class), (K, K), where wrong labels are not spread evenly; else None.
        plausible: least and greatest sharpness that labels and witness leave room for (95%, profile likelihood).
    """

    rate: float
    sharpness: float
    plausible: tuple[float, float] = (1.0, 1.0)
    confusion: Tensor | None = None

    @classmethod
    def fit(
        cls, logits_NK: Tensor, labels_N: Tensor, rate: float | None = None, witness: Witness | None = None
    ) -> LabelNoise:
        """Return the likeliest, with a noise rate of 0 unless a likelihood-ratio test speaks against that (p < 0.001).

        Wrong labels differ from vague texts in that clear texts contradict the label as often as others. Where all
        texts are alike in that, or know nothing of the classes, the test keeps the labels.

        Args:
            logits_NK: of classifiers that have not seen the image, float32.
            labels_N: the labels, int64.
            rate: e where it is known.
            witness: what else speaks for the sharpness.
        """
        num_classes = logits_NK.shape[1]
        most = 1 - 1 / num_classes  # beyond it, a label would speak against its own class

        def loss(rate: float, sharpness: float) -> float:
            own = (logits_NK * sharpness).log_softmax(1).gather(1, labels_N[:, None])[:, 0].double().exp()
            likelihood = (1 - rate) * own + rate * (1 - own) / (num_classes - 1)
            surprise = -float(likelihood.clamp(min=1e-12).log().sum())
            if witness is not None:
                surprise += witness.worth * float(F.cross_entropy(witness.logits * sharpness, witness.answers))
            return surprise / (len(labels_N) + 1)

        def fitted(rate: float, best: float, log_sharpness: float) -> LabelNoise:
            tried = log_sharpness + np.linspace(-2, 2, 33)
            allowed = best + PLAUSIBLE / (len(labels_N) + 1)
            room = [one for one in tried if loss(max(rate, _MIN_RATE), _exp(one)) <= allowed] or [log_sharpness]
            return cls(rate, _exp(log_sharpness), (_exp(min(room)), _exp(max(room))))

        known = _MIN_RATE if rate is None else rate
        known_loss, (log_sharpness,) = _minimum(lambda x: loss(known, _exp(x[0])), [0.5])
        if rate is not None:
            return fitted(rate, known_loss, log_sharpness)
        free = [_minimum(lambda x: loss(most * float(expit(x[0])), _exp(x[1])), [start, 0.5]) for start in (-3.0, 0.0)]
        best_loss, (raw, best_log_sharpness) = min(free, key=lambda found: found[0])
        if 2 * (len(labels_N) + 1) * (known_loss - best_loss) < SIGNIFICANT:
            best = fitted(0.0, known_loss, log_sharpness)
        else:
            best = fitted(most * float(expit(raw)), best_loss, best_log_sharpness)
        return best._or_confusion(logits_NK, labels_N)

    def _or_confusion(self, logits_NK: Tensor, labels_N: Tensor) -> LabelNoise:
        """Return the same with a matrix in place of the rate, where labels are clearly likelier so."""
        num_classes, base = logits_NK.shape[1], max(self.rate, 0.02)
        if len(labels_N) < 10 * num_classes:
            return self
        own = (logits_NK * self.sharpness).softmax(1).gather(1, labels_N[:, None])[:, 0]
        likelihood = (1 - self.rate) * own + self.rate * (1 - own) / (num_classes - 1)
        needed = float(likelihood.clamp(min=1e-12).log().sum()) + MIN_GAIN * len(labels_N)
        tried = [math.exp(one) for one in np.linspace(-1.5, 1.5, 7)]
        found = [(_held_out((logits_NK * one).softmax(1), labels_N, base), one) for one in tried]
        best, sharpness = max(found)
        near = [one for likelihood, one in found if likelihood >= best - PLAUSIBLE]
        if best < needed:
            return self
        confusion = _confusion((logits_NK * sharpness).softmax(1), labels_N, base)
        rate = float(1 - confusion.diagonal()[labels_N].mean())
        return LabelNoise(rate, sharpness, (min(near), max(near)), confusion)

    def class_probabilities(self, logits_NK: Tensor, labels_N: Tensor, num_classes: int | None = None) -> Tensor:
        """Return the probability of each class to be the true one, given text and label, float32, (N, K).

        Args:
            logits_NK: of classifiers that have not seen the image, float32; columns behind those of the classes are
                for images of none of them.
            labels_N: the labels, int64; -1 where there is none, so that the text alone decides.
            num_classes: classes that a label can have; None = all columns.
        """
        rate = max(self.rate, _MIN_RATE)
        factor = torch.full_like(logits_NK, rate / ((num_classes or logits_NK.shape[1]) - 1))
        if self.confusion is None:
            factor.scatter_(1, labels_N.clamp(min=0)[:, None], 1 - rate)
        else:
            factor[:, : len(self.confusion)] = self.confusion.to(factor)[:, labels_N.clamp(min=0)].T
        factor[labels_N < 0] = 1
        return ((logits_NK * self.sharpness).log_softmax(1) + factor.log()).softmax(1)


def _confusion(probabilities_NK: Tensor, labels_N: Tensor, rate: float) -> Tensor:
    """Return the likeliest P(label | class), (K, K), of labels by texts; `PRIOR_COUNT` images a class say `rate`."""
    num_classes = probabilities_NK.shape[1]
    prior = torch.full((num_classes, num_classes), rate / (num_classes - 1)).fill_diagonal_(1 - rate)
    confusion = prior
    for _ in range(10):
        classes = probabilities_NK * confusion[:, labels_N].T
        classes = classes / classes.sum(1, keepdim=True).clamp(min=1e-12)
        counts = torch.zeros_like(prior).index_add_(1, labels_N, classes.T)
        confusion = (counts + PRIOR_COUNT * prior) / (counts.sum(1, keepdim=True) + PRIOR_COUNT)
    return confusion


def _held_out(probabilities_NK: Tensor, labels_N: Tensor, rate: float) -> float:
    """Return the log-likelihood of the labels of each fifth by the matrix of the others."""
    fold = torch.from_numpy(np.random.default_rng(0).permutation(len(labels_N)) % 5)
    total = 0.0
    for number in range(5):
        own = fold == number
        confusion = _confusion(probabilities_NK[~own], labels_N[~own], rate)
        likelihood = (probabilities_NK[own] * confusion[:, labels_N[own]].T).sum(1)
        total += float(likelihood.clamp(min=1e-12).log().sum())
    return total


def _minimum(function: Callable[[np.ndarray], float], start: list[float]) -> tuple[float, np.ndarray]:
    """Return the least value of a function of few parameters, and where it lies."""
    found = minimize(function, start, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-7, "maxfev": 200})
    return float(found.fun), found.x


def _exp(x: float) -> float:
    return math.exp(min(max(x, -20.0), 20.0))


def fit_logistic(
    vectors_NF: Tensor, labels_N: Tensor, num_classes: int, l2: float, max_steps: int
) -> tuple[Tensor, Tensor]:
    """Return weight (K, F) and bias (K,) of the logistic regression, fitted by at most `max_steps` of L-BFGS.

    `l2` is the factor of the squared weights, beside the mean cross-entropy.
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


@dataclass(frozen=True)
class Probe:
    """Multinomial logistic regression, weight (K, D) and bias (K,), on vectors standardized by mean and std, (D,).

    They are given unit length too, so that one penalty suits text vectors and image features alike.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, known_ND: Tensor, labels_N: Tensor, num_classes: int) -> Probe:
        """Fit to training vectors, float32, and their classes, int64."""
        mean, std = known_ND.mean(0), known_ND.std(0).clamp(min=1e-6)
        known = F.normalize((known_ND - mean) / std, dim=1)
        return cls(mean, std, *fit_logistic(known, labels_N, num_classes, L2, NUM_STEPS))

    def logits(self, others_MD: Tensor) -> Tensor:
        """Return the logits of each class, (M, K)."""
        return F.normalize((others_MD - self.mean) / self.std, dim=1) @ self.weight.T + self.bias
