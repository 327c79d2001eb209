"""What class each image is of, by the vectors of its descriptions, names of the classes and any labels.

One likelihood holds all of it. In the space of the text vectors a class is a Gaussian; all have one covariance. What
is known of the classes comes from three sides:

- the images, labeled or not: each belongs to each class with a probability (expectation maximization);
- the labels, of which a part e is wrong: P(label | class) is 1 - e for the class, e / (K - 1) for each other;
- the names, in two ways: the mean of a class lies where its name points unless `NAME_COUNT` images say otherwise, and
  the cosine with the name adds to the logit of an image. Labels show how far the names can be trusted.

How often a class comes is estimated too. An image is judged by what the images of the other folds say, so that its own
label, right or wrong, does not vouch for itself. The logits of a Gaussian are far too sure of themselves in hundreds of
dimensions; one factor, `sharpness`, makes up for it. Labels set it, or, in their place, the answers of the names alone.

Shapes: P images that the model is fitted to, K classes (C with that of no class, if asked for), D width of the vectors,
F folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from sightwords.labels.noise import LabelNoise, Witness

NUM_FOLDS = 5
# All chosen on the garments of the demo and seen to hold on Imagenette, docs/experiments.md
NAME_COUNT = 20  # images that the name of a class is worth, for its mean and for the sharpness
NAME_LOGIT = 10.0  # factor of the cosine with the name
NAME_SHARPNESS = 20.0  # of softmax over the cosines, where no label says otherwise
SHRINKAGE = 0.9  # of the covariance towards a multiple of the identity
TEMPER = 0.15  # factor of the Gaussians' logits while they are fitted
OTHER_COSINE = 0.4  # an image is of no class below this part of the usual cosine with the best name
MAX_ROUNDS, CHANGE = 40, 1e-3
MAX_LOGITS = 2**23  # that noise and sharpness are fitted to
_SMALL_CLASS = 5.0  # images; smaller classes count less for the center


@dataclass(frozen=True)
class LabelModel:
    """Gaussians of all classes, fitted to all folds but one, for each fold.

    Attributes:
        weight: (F, D, C).
        bias: (F, C).
        center: what vectors and names are centered by, (D,).
        names: unit vectors of the centered names, (K, D); zeros without names.
        name_logit: factor of the cosine with the name; that of no class gets `other_logit`.
        other_logit: of being of no class, where that is possible.
        noise: rate of label noise, and sharpness of the logits.
    """

    weight: Tensor
    bias: Tensor
    center: Tensor
    names: Tensor
    name_logit: float
    other_logit: float
    noise: LabelNoise

    def logits(self, vectors_BD: Tensor, folds_B: Tensor) -> Tensor:
        """Return the logit of each class by text and names, float32, (B, C), of images of some folds."""
        return self.text_logits(vectors_BD, folds_B) + self.name_logits(vectors_BD)

    def text_logits(self, vectors_BD: Tensor, folds_B: Tensor) -> Tensor:
        """Return the part of it that is learned from the other folds."""
        logits = vectors_BD.new_empty(len(vectors_BD), self.bias.shape[1])
        for fold in range(len(self.bias)):
            own = folds_B == fold
            logits[own] = vectors_BD[own] @ self.weight[fold] + self.bias[fold]
        return logits

    def name_logits(self, vectors_BD: Tensor) -> Tensor:
        """Return the names' part of it."""
        logits = self.name_logit * cosines(vectors_BD, self.center, self.names)
        extra = self.bias.shape[1] - len(self.names)
        return torch.cat([logits, logits.new_full((len(logits), extra), self.other_logit)], 1)


def cosines(vectors_BD: Tensor, center_D: Tensor, names_KD: Tensor) -> Tensor:
    """Return the cosine of each centered vector with each name, float32, (B, K)."""
    return F.normalize(vectors_BD - center_D, dim=1) @ names_KD.T


@dataclass(frozen=True)
class Evidence:
    """What a model is fitted to.

    Attributes:
        vectors: text vectors, float32, (P, D).
        labels: that are there, int64, (P,), -1 for none.
        folds: of each image, int64, below `NUM_FOLDS`, (P,).
        num_classes: K.
        names: unit vectors of the class names in the same space, float32, (K, D); None = not known.
        rate: rate of label noise where it is known; None estimates it.
        other: whether an image may be of no class.
    """

    vectors: Tensor
    labels: Tensor
    folds: Tensor
    num_classes: int
    names: Tensor | None = None
    rate: float | None = None
    other: bool = False


def fit_labels(evidence: Evidence, advance: Callable[[], object] = lambda: None) -> LabelModel:
    """Return the likeliest model; `advance` is called after each of at most `MAX_ROUNDS` rounds."""
    fit = _Fit(evidence)
    for _ in range(MAX_ROUNDS):
        change = fit.round()
        advance()
        if change < CHANGE:
            break
    return fit.model()


class _Fit:
    """Expectation maximization: `belief`, (P, C), is how probable each class of each image is so far."""

    def __init__(self, evidence: Evidence) -> None:
        vectors, names, folds = evidence.vectors, evidence.names, evidence.folds
        self.vectors, self.labels, self.folds, self.given_rate = vectors, evidence.labels, folds, evidence.rate
        self.num_classes, self.other = evidence.num_classes, evidence.other
        self.labeled = torch.nonzero(self.labels >= 0)[:, 0]
        self.rate = 0.1 if evidence.rate is None else evidence.rate
        self.has_names = names is not None
        self.names = vectors.new_zeros(self.num_classes, vectors.shape[1])
        if names is not None:
            self.names = F.normalize(names - names.mean(0), dim=1)
        self.scatter = [vectors[folds == fold].T @ vectors[folds == fold] for fold in range(NUM_FOLDS)]
        self.center = vectors.mean(0)
        for _ in range(4):  # the mean of all images lies near the large classes; the names need that of the classes
            cosine = cosines(vectors, self.center, self.names)
            sharpness = self._name_sharpness(cosine)
            logits = sharpness * cosine
            if self.other:
                self.other_cosine = OTHER_COSINE * float(cosine.max(1).values.median())
                logits = torch.cat([logits, logits.new_full((len(logits), 1), sharpness * self.other_cosine)], 1)
            self._believe(logits)
        self.answers = logits.argmax(1)
        self.name_trust = min(1.0, sharpness / NAME_SHARPNESS)

    def round(self) -> float:
        """Fit the classes of every fold, judge the images by them, and return by how much that changed on average."""
        weights, biases = zip(*map(self._classes, range(NUM_FOLDS)), strict=True)
        self.weight, self.bias, before = torch.stack(weights), torch.stack(biases), self.belief
        self._believe(self._model(LabelNoise(0, 1)).logits(self.vectors, self.folds))
        if self.given_rate is None and len(self.labeled):
            own = self.belief[self.labeled, self.labels[self.labeled]].mean()
            self.rate = float((1 - own).clamp(1e-4, 0.98 * (1 - 1 / self.num_classes)))
        return float((self.belief - before).abs().sum(1).mean())

    def model(self) -> LabelModel:
        """Return what was fitted, with the noise rate and the sharpness that suit the labels, or the names' answers."""
        model = self._model(LabelNoise(0, 1))
        most = max(1000, MAX_LOGITS // self.num_classes)
        own, witness = self.labeled[:most], None
        if self.has_names:
            logits = model.text_logits(self.vectors[:most], self.folds[:most])
            witness = Witness(logits.cpu(), self.answers[:most].cpu(), self.name_trust * NAME_COUNT)
        logits = model.logits(self.vectors[own], self.folds[own])[:, : self.num_classes]
        # on the CPU: the likelihood is in float64, which not all devices have
        return self._model(LabelNoise.fit(logits.cpu(), self.labels[own].cpu(), self.given_rate, witness))

    def _model(self, noise: LabelNoise) -> LabelModel:
        name_logit = NAME_LOGIT * self.name_trust
        other_logit = name_logit * self.other_cosine if self.other else 0.0
        return LabelModel(
            weight=self.weight,
            bias=self.bias,
            center=self.center,
            names=self.names,
            name_logit=name_logit,
            other_logit=other_logit,
            noise=noise,
        )

    def _believe(self, logits: Tensor) -> None:
        """Set what is believed of each image, and the center.

        `sure`, (P, C), is the belief times how certain it is: 1 for a single class, 0 where all are alike.
        """
        self.belief = LabelNoise(self.rate, 1).class_probabilities(logits, self.labels, self.num_classes)
        spread = -torch.special.xlogy(self.belief, self.belief).sum(1) / math.log(self.belief.shape[1])
        self.sure = self.belief * (1 - spread)[:, None].clamp(min=0)
        self.center = self._class_center()

    def _class_center(self) -> Tensor:
        """Return the mean of the class means, (D,); small classes count less."""
        sure = self.sure[:, : self.num_classes]
        count = sure.sum(0)
        counts = count / (count + _SMALL_CLASS)
        means = sure.T @ self.vectors / count.clamp(min=1e-6)[:, None]
        center: Tensor = counts @ means / counts.sum() if float(counts.sum()) > 0.1 else self.vectors.mean(0)
        return center

    def _name_sharpness(self, cosine: Tensor) -> float:
        """Return how sharply the names tell classes apart: `NAME_SHARPNESS`, unless labels say otherwise."""
        if not self.has_names:
            return 0.0
        own, labels = cosine[self.labeled], self.labels[self.labeled]

        def loss(log_sharpness: float) -> float:
            surprise = F.cross_entropy(own * math.exp(log_sharpness), labels, reduction="sum") if len(own) else 0.0
            return float(surprise) + (log_sharpness - math.log(NAME_SHARPNESS)) ** 2 / 2

        return math.exp(minimize_scalar(loss, bounds=(-3, 5), method="bounded").x)

    def _classes(self, fold: int) -> tuple[Tensor, Tensor]:
        """Return weight (D, C) and bias (C,) of linear discriminants, fitted to the images of all other folds."""
        others = self.folds != fold
        vectors, belief, sure = self.vectors[others], self.belief[others], self.sure[others]
        count, total = belief.sum(0), belief.T @ vectors
        names = torch.cat([self.names, self.names.new_zeros(belief.shape[1] - self.num_classes, self.names.shape[1])])
        own, own_total = sure.sum(0), sure.T @ vectors
        reach = ((own_total - own[:, None] * self.center) * names).sum() / own[: self.num_classes].sum().clamp(min=1e-6)
        prior = self.center + reach.clamp(min=0) * names  # where the means of the classes lie by their names
        worth = max(0.1, self.name_trust * NAME_COUNT)
        means = (own_total + worth * prior) / (own + worth)[:, None]
        scatter = sum(one for number, one in enumerate(self.scatter) if number != fold)
        cross = total.T @ means
        covariance = (scatter - cross - cross.T + (means.T * count) @ means) / len(vectors)
        usual = covariance.trace() / len(covariance)
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * usual * torch.eye(len(covariance)).to(covariance)
        weight = torch.linalg.solve(covariance, means.T)
        bias = torch.log((count + 1) / (count + 1).sum()) - TEMPER * (means.T * weight).sum(0) / 2
        return TEMPER * weight, bias
