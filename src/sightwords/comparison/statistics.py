"""Differences between two arms with intervals, tests, a summary over networks, and correction for several comparisons.

Shapes: S seeds, N images. All differences are of accuracies, as fractions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


def paired_interval(a_SN: np.ndarray, b_SN: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the interval of b less a, paired by seed and image.

    The error has two parts: images differ (each with its mean difference over seeds), and seeds differ by more than the
    chance of single answers. With few seeds the second part is itself uncertain, so the interval takes Student's t with
    Satterthwaite's degrees of freedom. With one seed the interval is over images alone: how much another seed would
    change is then unknown. Source: two-way random effects, Owen, The pigeonhole bootstrap, 2007.

    Args:
        a_SN: right answers of the first arm, bool, shape (S, N).
        b_SN: of the second, same seeds and images.
        level: share of such intervals that hold the true difference.
    """
    assert a_SN.shape == b_SN.shape, "the same seeds and images"
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
    return student_interval(float(difference_SN.mean()), math.sqrt(variance), freedom, level)


def student_interval(mean: float, error: float, freedom: float, level: float = LEVEL) -> Interval:
    """Return mean +- t x error, with probability and p value of the same distribution."""
    if error == 0:
        sure = 0.5 if mean == 0 else float(mean > 0)
        return Interval(mean, mean, mean, sure, float(mean == 0), freedom=freedom)
    from scipy.stats import norm
    from scipy.stats import t as student

    known = norm() if math.isinf(freedom) else student(freedom)
    half = float(known.ppf((1 + level) / 2)) * error
    ratio = mean / error
    probability, p_value = float(known.cdf(ratio)), float(2 * known.sf(abs(ratio)))
    return Interval(mean, mean - half, mean + half, probability, p_value, error=error, freedom=freedom)


def mcnemar(a_N: np.ndarray, b_N: np.ndarray) -> float:
    """Return the exact two-sided p value that two networks are right on images equally often.

    Of the images that only one of them got right, half would be each one's.

    Args:
        a_N: right answers of one network, bool, shape (N,).
        b_N: of the other.
    """
    from scipy.stats import binomtest

    only_a, only_b = int((a_N & ~b_N).sum()), int((b_N & ~a_N).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def summarize(effects: Sequence[Interval], level: float = LEVEL) -> Interval:
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
    between = _between_variance(means, variances)
    weights = 1 / (variances + between)
    mean = float((weights * means).sum() / weights.sum())
    fixed = 1 / weights.sum()
    adjusted = float((weights * (means - mean) ** 2).sum() / (weights.sum() * (len(effects) - 1)))
    shares = (weights * math.sqrt(fixed)) ** 2 * variances  # of each effect's own error
    uncertainty = sum(share**2 / effect.freedom for share, effect in zip(shares, effects, strict=True))
    freedom = max(1.0, float(shares.sum() ** 2 / uncertainty)) if uncertainty else math.inf
    common = student_interval(mean, math.sqrt(fixed), freedom, level)
    varying = student_interval(mean, math.sqrt(adjusted), len(effects) - 1, level)
    return max(common, varying, key=lambda interval: interval.high - interval.low)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values corrected for their number (Holm, Scandinavian Journal of Statistics, 1979), same order."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _residual_variance(difference_SN: np.ndarray) -> float:
    """Return the variance of what neither the seed nor the image explains."""
    rows, columns = difference_SN.mean(1, keepdims=True), difference_SN.mean(0, keepdims=True)
    residual = difference_SN - rows - columns + difference_SN.mean()
    num_seeds, num_images = difference_SN.shape
    return float((residual**2).sum() / ((num_seeds - 1) * max(1, num_images - 1)))


def _between_variance(means: np.ndarray, variances: np.ndarray) -> float:
    """Return how much the true effects vary between networks, by the method of moments, at least 0."""
    weights = 1 / variances
    mean = (weights * means).sum() / weights.sum()
    heterogeneity = (weights * (means - mean) ** 2).sum()
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    return float(max(0.0, (heterogeneity - (len(means) - 1)) / scale))


_CONTROL_TEXT = {
    "class_name": "class names alone",
    "shuffled": "descriptions shuffled among the images",
    "shuffled_within_class": "descriptions shuffled within each class",
    "random_vectors": "random vectors",
}
_MEANING = {
    "class_name": "so the descriptions say more than the label's name",
    "shuffled": "so it matters which text an image has",
    "shuffled_within_class": "so it matters what the text says beyond the class",
    "random_vectors": "so it is the text, and not the further loss by itself",
}


@dataclass(frozen=True)
class Counts:
    """How much a conclusion rests on: networks, seeds of each, validation images."""

    num_models: int
    num_seeds: int
    num_images: int

    def __str__(self) -> str:
        models, seeds = _count(self.num_models, "network"), _count(self.num_seeds, "seed")
        return f"{models}, {seeds} and {self.num_images:,} images"


def conclusion(
    arm: str,
    effect: Interval,
    adjusted_p: float,
    controls: Mapping[str, Interval],
    against_controls: Mapping[str, Interval],
    counts: Counts,
) -> str:
    """Return what an arm's trainings show, with its controls.

    Args:
        arm: name of the arm.
        effect: its difference to the baseline, over all networks.
        adjusted_p: p value after correction for the number of arms.
        controls: by name, the control's difference to the baseline.
        against_controls: by name, the arm's difference to the control.
        counts: what it rests on.
    """
    if adjusted_p < SIGNIFICANT and effect.low > 0:
        first = f"{arm} beats the baseline by {effect.points('')} over {counts} (adjusted p {_p(adjusted_p)})."
    elif adjusted_p < SIGNIFICANT and effect.high < 0:
        first = f"{arm} is below the baseline by {(-effect).points('')} over {counts} (adjusted p {_p(adjusted_p)})."
    else:
        first = f"No difference between {arm} and the baseline is shown: {effect.points()} over {counts}"
        apart = effect.low > 0 or effect.high < 0
        first += f"; of several arms one may look so by chance (adjusted p {_p(adjusted_p)})." if apart else "."
    sentences = [_control(name, arm, controls[name], against) for name, against in against_controls.items()]
    return " ".join([first, *sentences])


def caveats(num_controls: int, num_seeds: int) -> list[str]:
    """Return what all conclusions of a comparison leave open.

    Args:
        num_controls: arms that are controls.
        num_seeds: seeds of each network.
    """
    found = []
    if not num_controls:
        found.append(
            "Without a control it is open whether the meaning of the text matters (--arms class_name shuffled)."
        )
    if num_seeds == 1:
        found.append("With one seed the intervals are over images alone: another seed may differ by more.")
    return found


def _control(name: str, arm: str, control: Interval, against: Interval) -> str:
    text = f"{_CONTROL_TEXT[name].capitalize()} give {control.points()};"
    if against.low > 0:
        return f"{text} {arm} is better by {against.points('')}, {_MEANING[name]}."
    if against.high < 0:
        return f"{text} {arm} is worse than that by {(-against).points('')}."
    return f"{text} the difference to {arm}, {against.points()}, is within chance."


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 0.001 else "below 0.001"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
