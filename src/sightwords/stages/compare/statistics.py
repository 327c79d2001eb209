"""How much better one arm is than another, and how sure that is, over seeds, images and networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from sightwords.errors import ConfigError, DataError

_BATCH = 256  # draws at once, so that many images with fractional values need little memory
_Z95 = 1.959964


@dataclass(frozen=True)
class Interval:
    """A difference between two accuracies, with its confidence interval.

    Attributes:
        mean: the difference, as a fraction (0.01 is one point).
        low: lower end of the interval.
        high: upper end of the interval.
        probability: confidence that the true difference is above 0, in [0, 1].
        p_value: two-sided, of a true difference of 0; below 1 - level where the interval leaves out 0.
    """

    mean: float
    low: float
    high: float
    probability: float
    p_value: float

    def points(self) -> str:
        """Return the difference in points of accuracy: `+2.1 points [+1.2, +3.0]`."""
        mean, low, high = in_points(self)
        return f"{mean} points [{low}, {high}]"


def in_points(interval: Interval, sign: str = "+") -> tuple[str, str, str]:
    """Return mean, low and high in points, each with its sign (`sign="-"`: minus signs only).

    A second decimal comes in where an end would otherwise be read as 0 though it is not.
    """
    values = [100 * value for value in (interval.mean, interval.low, interval.high)]
    decimals = 2 if any(0 < abs(value) < 0.05 for value in values[1:]) else 1
    # adding 0.0 turns -0.0 into 0.0
    mean, low, high = (format(round(value, decimals) + 0.0, f"{sign}.{decimals}f") for value in values)
    return mean, low, high


def paired_interval(
    a_SN: np.ndarray, b_SN: np.ndarray, level: float = 0.95, num_samples: int = 2000, seed: int = 0
) -> Interval:
    """Return the accuracy of b minus that of a, for new seeds and new images.

    Seeds and images are resampled together (pigeonhole bootstrap: Owen, "The pigeonhole bootstrap", Annals of Applied
    Statistics 1, 2007). Percentiles of such draws are too narrow for a few seeds, and their variance counts what is
    peculiar to single pairs of seed and image three times. So the draws are split into the parts of seeds, images
    and pairs, each part's variance is corrected for its number (S / (S - 1) for seeds), the pairs are counted once,
    and the interval is Student's, with degrees of freedom after Satterthwaite ("An approximate distribution of
    estimates of variance components", Biometrics Bulletin 2, 1946). One discordant pair each way is added to the
    variance (Bonett & Price, Journal of Educational and Behavioral Statistics 37, 2012), as no finite number of
    images shows that two networks never differ.

    With one seed images alone are resampled: the interval is for these two trainings, and says nothing of others.
    With two seeds the spread over seeds is barely known: where it is far above that of the images, a 95% interval
    covers about 88%. Three seeds or more keep to 92-99%.

    Args:
        a_SN: what each seed's network got right, bool or values in [0, 1], shape (S, N).
        b_SN: the same of the other arm, paired by seed and image.
        level: coverage of the interval.
        num_samples: draws of the bootstrap.
        seed: seed of the draws.

    Raises:
        DataError: shapes differ, there are fewer than two images, or a value is not in [0, 1].
        ConfigError: `level` is not between 0 and 1, or there are fewer than two draws.
    """
    if not 0 < level < 1 or num_samples < 2:
        raise ConfigError(f"level is {level} and num_samples {num_samples}; use 0 < level < 1 and 2 or more samples.")
    difference_SN = _difference(a_SN, b_SN)
    num_seeds, num_images = difference_SN.shape
    seeds, images, pairs = _bootstrap_variances(difference_SN, num_samples, seed)
    images += 2 / (num_seeds * num_images**2)
    # `seeds` and `images` each hold the pairs' part; where seeds hold nothing else, the images' part is all there is
    variance = max(seeds + images - pairs, images)
    freedom = num_images - 1.0
    if num_seeds > 1:
        others = pairs**2 / (num_seeds - 1) / (num_images - 1) + images**2 / (num_images - 1)
        freedom = min(max(variance**2 / (seeds**2 / (num_seeds - 1) + others), num_seeds - 1.0), freedom)
    return _student_interval(float(difference_SN.mean()), math.sqrt(variance), freedom, level)


def mcnemar(a_N: np.ndarray, b_N: np.ndarray) -> float:
    """Return the exact two-sided p value that two networks are right equally often (McNemar, Psychometrika 12, 1947).

    Args:
        a_N: which images one network got right, bool, shape (N,).
        b_N: the same of the other.

    Raises:
        DataError: the arrays are not of one length.
    """
    if a_N.shape != b_N.shape or a_N.ndim != 1:
        raise DataError(f"Shapes {a_N.shape} and {b_N.shape} came; give two arrays (N,) of the same images.")
    a, b = a_N.astype(bool), b_N.astype(bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(stats.binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0


def summarize(effects: Sequence[Interval]) -> Interval:
    """Return the mean effect over networks, for new networks of their kind; one network's is returned as it is.

    Random effects, with the spread between networks after DerSimonian & Laird (Controlled Clinical Trials 7, 1986) and
    the t interval of Hartung & Knapp (Statistics in Medicine 20, 2001). That can by chance be narrower than the
    effects allow; then the normal random-effects interval, never narrower than the fixed-effect one, is kept (Jackson
    et al., Statistics in Medicine 36, 2017). Networks are taken as independent, though they share the images.

    Args:
        effects: 95% intervals, one a network. Half their width over 1.96 is taken as standard error, so that few
            degrees of freedom count as less information.

    Raises:
        DataError: there is none.
    """
    if not effects:
        raise DataError("There is no effect to summarise; give one interval for each network.")
    if len(effects) == 1:
        return effects[0]
    mean_K = np.array([effect.mean for effect in effects])
    variance_K = np.array([max((effect.high - effect.low) / 2 / _Z95, 1e-9) ** 2 for effect in effects])
    weight_K = 1 / (variance_K + _between_variance(mean_K, variance_K))
    mean = float(np.average(mean_K, weights=weight_K))
    scatter = float((weight_K * (mean_K - mean) ** 2).sum() / (len(effects) - 1))
    error = math.sqrt(1 / float(weight_K.sum()))
    normal = _student_interval(mean, error, math.inf, 0.95)
    if scatter == 0:
        return normal
    student = _student_interval(mean, error * math.sqrt(scatter), len(effects) - 1.0, 0.95)
    # the wider interval and the larger p value need not be of the same kind; each is the careful one
    p_value = max(normal.p_value, student.p_value)
    wider = max(normal, student, key=lambda interval: interval.high - interval.low)
    return Interval(mean, wider.low, wider.high, 1 - p_value / 2 if mean > 0 else p_value / 2, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number, in the same order (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min((len(p_values) - rank) * p_values[index], 1.0))
        adjusted[index] = highest
    return adjusted


def share_explained(control: Interval, aligned: Interval) -> float | None:
    """Return which part of the aligned arm's gain a control has too: 1 is all of it, below 0 the control harms.

    None where no gain is shown (its interval reaches 0), as a ratio to about nothing says nothing.
    """
    return control.mean / aligned.mean if aligned.low > 0 else None


def _difference(a_SN: np.ndarray, b_SN: np.ndarray) -> np.ndarray:
    """Return b - a, float64, shape (S, N), of arrays that fit each other."""
    if a_SN.shape != b_SN.shape or a_SN.ndim != 2 or a_SN.shape[0] < 1 or a_SN.shape[1] < 2:
        raise DataError(
            f"Shapes {a_SN.shape} and {b_SN.shape} came; give two arrays (S seeds, N images), N at least 2, "
            "of the same seeds and images."
        )
    a, b = a_SN.astype(np.float64), b_SN.astype(np.float64)
    for values in (a, b):
        if not ((values >= 0) & (values <= 1)).all():
            raise DataError("A value is not in [0, 1]; give what was right (bool), or a share of it.")
    return b - a


def _bootstrap_variances(difference_SN: np.ndarray, num_samples: int, seed: int) -> tuple[float, float, float]:
    """Return the mean's variance by seeds, by images, and by what is peculiar to pairs of both, each unbiased.

    Images with the same differences are drawn together, by their number: the same draws, for a fraction of the time.
    """
    rng = np.random.default_rng(seed)
    num_seeds, num_images = difference_SN.shape
    value_SP, count_P = np.unique(difference_SN, axis=1, return_counts=True)
    seed_S, image_P = difference_SN.mean(1), value_SP.mean(0)
    mean = difference_SN.mean()
    pair_SP = value_SP - seed_S[:, None] - image_P + mean
    squares = np.zeros(3)
    for start in range(0, num_samples, _BATCH):
        size = min(_BATCH, num_samples - start)
        by_seed_BS = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size) / num_seeds
        by_image_BP = rng.multinomial(num_images, count_P / num_images, size) / num_images
        draws = (
            by_seed_BS @ (seed_S - mean),
            by_image_BP @ (image_P - mean),
            (by_seed_BS @ pair_SP * by_image_BP).sum(1),
        )
        squares += [float((draw**2).sum()) for draw in draws]
    images = num_images / (num_images - 1)
    seeds = num_seeds / (num_seeds - 1) if num_seeds > 1 else 0.0
    by_seed, by_image, by_pair = (squares / num_samples * (seeds, images, seeds * images)).tolist()
    return by_seed, by_image, by_pair


def _between_variance(mean_K: np.ndarray, variance_K: np.ndarray) -> float:
    """Return DerSimonian & Laird's variance of the true effects between networks, at least 0."""
    weight_K = 1 / variance_K
    scatter = (weight_K * (mean_K - np.average(mean_K, weights=weight_K)) ** 2).sum()
    scale = weight_K.sum() - (weight_K**2).sum() / weight_K.sum()
    return max(0.0, float((scatter - (len(mean_K) - 1)) / scale))


def _student_interval(mean: float, error: float, freedom: float, level: float) -> Interval:
    """Return Student's interval of a mean with a standard error above 0; infinite freedom is the normal one."""
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Interval(mean, mean - half, mean + half, float(stats.t.cdf(mean / error, freedom)), p_value)
