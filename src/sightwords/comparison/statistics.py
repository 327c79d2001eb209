"""Differences between two arms with 95% intervals, tests, a summary over networks, and Holm's correction.

Shapes: S seeds, N images. All differences are of accuracies, as fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

LEVEL = 0.95
SIGNIFICANT = 1 - LEVEL


@dataclass(frozen=True)
class Interval:
    """A difference and what is known of it.

    Attributes:
        mean: the difference.
        low: lower end of the interval.
        high: upper end.
        probability: of improvement: that the difference is above zero, as the data show it.
        p_value: two-sided, for a difference of zero; below 0.05 where the 95% interval leaves zero out.
        error: standard error.
        freedom: degrees of freedom of Student's t.
    """

    mean: float
    low: float
    high: float
    probability: float
    p_value: float
    error: float = 0.0
    freedom: float = math.inf

    def points(self, sign: str = "+", unit: str = " points") -> str:
        """Return `+2.1 points [+1.2, +3.0]`."""
        mean, low, high = (f"{100 * value:{sign}.1f}" for value in (self.mean, self.low, self.high))
        return f"{mean}{unit} [{low}, {high}]"

    def __neg__(self) -> Interval:
        return replace(self, mean=-self.mean, low=-self.high, high=-self.low, probability=1 - self.probability)


def paired_interval(a_SN: np.ndarray, b_SN: np.ndarray) -> Interval:
    """Return the interval of b less a, right answers of the same seeds and images, bool, (S, N).

    The error has two parts: images differ (each with its mean difference over seeds), and seeds differ by more than the
    chance of single answers. With few seeds the second part is itself uncertain, so the interval takes Student's t with
    Satterthwaite's degrees of freedom. With one seed the interval is over images alone: how much another seed would
    change is then unknown. Source: two-way random effects, Owen, The pigeonhole bootstrap, 2007.
    """
    difference_SN = b_SN.astype(np.float64) - a_SN
    num_seeds, num_images = difference_SN.shape
    images_variance = float(difference_SN.mean(0).var()) / num_images
    seeds_variance = counted = 0.0
    if num_seeds > 1:
        seeds_variance = float(difference_SN.mean(1).var(ddof=1)) / num_seeds
        counted = _residual_variance(difference_SN) / (num_seeds * num_images)  # is in the images' part already
    variance = images_variance + max(0.0, seeds_variance - counted)
    uncertainty = images_variance**2 / max(1, num_images - 1) + seeds_variance**2 / max(1, num_seeds - 1)
    freedom = max(1.0, variance**2 / uncertainty) if uncertainty > 0 else math.inf
    return student_interval(float(difference_SN.mean()), math.sqrt(variance), freedom)


def student_interval(mean: float, error: float, freedom: float) -> Interval:
    """Return mean +- t x error, with probability and p value of the same distribution."""
    if error == 0:
        sure = 0.5 if mean == 0 else float(mean > 0)
        return Interval(mean, mean, mean, sure, float(mean == 0), freedom=freedom)
    from scipy.stats import t as student

    low, high = (float(end) for end in student.interval(LEVEL, freedom, mean, error))
    ratio = mean / error
    probability, p_value = float(student.cdf(ratio, freedom)), float(2 * student.sf(abs(ratio), freedom))
    return Interval(mean, low, high, probability, p_value, error=error, freedom=freedom)


def mcnemar(a_N: np.ndarray, b_N: np.ndarray) -> float:
    """Return the exact two-sided p value that two networks, right answers bool (N,), are right equally often.

    Of the images that only one of them got right, half would be each one's.
    """
    from scipy.stats import binomtest

    only_a, only_b = int((a_N & ~b_N).sum()), int((b_N & ~a_N).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def summarize(effects: Sequence[Interval]) -> Interval:
    """Return the mean effect over networks, which may differ in how much they gain: a random-effects summary.

    Weights by DerSimonian and Laird (Controlled Clinical Trials, 1986), interval by Hartung and Knapp (Statistics in
    Medicine, 2001), never narrower than if all networks gained the same. One network is its own summary.
    """
    if len(effects) == 1:
        return effects[0]
    means = np.array([effect.mean for effect in effects])
    # two arms that agree on every image show no spread, which is no certainty: they count like the vaguest network
    vaguest = max(effect.error for effect in effects) or 1e-6
    variances = np.array([(effect.error or vaguest) ** 2 for effect in effects])
    weights = 1 / (variances + _between_variance(means, variances))
    mean = float(np.average(means, weights=weights))
    fixed = 1 / weights.sum()
    adjusted = float(np.average((means - mean) ** 2, weights=weights)) / (len(effects) - 1)
    shares = (weights * math.sqrt(fixed)) ** 2 * variances  # of each effect's own error
    uncertainty = sum(share**2 / effect.freedom for share, effect in zip(shares, effects, strict=True))
    freedom = max(1.0, float(shares.sum() ** 2 / uncertainty)) if uncertainty else math.inf
    common = student_interval(mean, math.sqrt(fixed), freedom)
    varying = student_interval(mean, math.sqrt(adjusted), len(effects) - 1)
    return max(common, varying, key=lambda interval: interval.high - interval.low)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values corrected for their number (Holm, Scandinavian Journal of Statistics, 1979), same order."""
    order = np.argsort(p_values)
    scaled = np.arange(len(order), 0, -1) * np.asarray(p_values)[order]
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(value) for value in adjusted]


def _residual_variance(difference_SN: np.ndarray) -> float:
    """Return the variance of what neither the seed nor the image explains."""
    rows, columns = difference_SN.mean(1, keepdims=True), difference_SN.mean(0, keepdims=True)
    residual = difference_SN - rows - columns + difference_SN.mean()
    num_seeds, num_images = difference_SN.shape
    return float((residual**2).sum() / ((num_seeds - 1) * max(1, num_images - 1)))


def _between_variance(means: np.ndarray, variances: np.ndarray) -> float:
    """Return how much the true effects vary between networks, by the method of moments, at least 0."""
    weights = 1 / variances
    heterogeneity = (weights * (means - np.average(means, weights=weights)) ** 2).sum()
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    return float(max(0.0, (heterogeneity - (len(means) - 1)) / scale))
