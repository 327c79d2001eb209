from __future__ import annotations

import numpy as np
import pytest

from sightwords.comparison.analysis import Effect, conclusion
from sightwords.comparison.statistics import Interval, holm, mcnemar, paired_interval, student_interval, summarize


def arm(draw: np.random.Generator, ease_N: np.ndarray, num_seeds: int, spread: float, gain: float = 0.0) -> np.ndarray:
    """Return right answers, (S, N), of networks that differ by seed and, on each image, from run to run."""
    shape = (num_seeds, len(ease_N))
    logits = ease_N + gain + draw.normal(0, spread, (num_seeds, 1)) + draw.normal(0, 0.8, shape)
    return draw.random(shape) < 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize(("num_seeds", "num_images", "spread"), [(1, 300, 0.0), (3, 400, 0.15), (5, 200, 0.0)])
def test_interval_of_two_baselines_covers_zero_about_95_times_in_100(num_seeds, num_images, spread):
    draw = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        ease = draw.normal(0.3, 2, num_images)
        a, b = (arm(draw, ease, num_seeds, spread) for _ in range(2))
        interval = paired_interval(a, b)
        covered += interval.low <= 0 <= interval.high
    assert 0.92 <= covered / 400 <= 0.99


def test_a_gain_is_found():
    draw = np.random.default_rng(0)
    ease = draw.normal(0.3, 2, 2000)
    found = paired_interval(arm(draw, ease, 5, 0.05), arm(draw, ease, 5, 0.05, gain=0.5))
    assert 0.03 < found.low < found.mean < found.high < 0.12
    assert found.p_value < 0.01
    assert found.probability > 0.99


def test_equal_answers_differ_by_nothing():
    same = np.random.default_rng(0).random((3, 50)) < 0.5
    assert paired_interval(same, same) == Interval(0.0, 0.0, 0.0, 0.5, 1.0, 0.0, float("inf"))


def test_interval_over_images_alone_is_the_known_one():
    # of 100 images 10 are won and 2 lost: variance of the differences 0.12 - 0.08^2
    a, b = np.zeros((1, 100), bool), np.zeros((1, 100), bool)
    b[0, :10] = a[0, 10:12] = True
    found = paired_interval(a, b)
    assert found.mean == pytest.approx(0.08)
    assert found.error == pytest.approx(np.sqrt((0.12 - 0.0064) / 100), rel=0.02)


def test_seeds_that_disagree_make_the_interval_wide():
    a = np.zeros((3, 1000), bool)
    b = a.copy()
    b[0, :60] = b[1, :20] = b[2, :100] = True  # gains of 6, 2 and 10 points: standard error 4 / sqrt(3)
    found = paired_interval(a, b)
    assert found.mean == pytest.approx(0.06)
    assert found.error == pytest.approx(0.04 / np.sqrt(3), rel=0.15)
    assert found.low < 0  # t of two degrees of freedom is 4.3


def test_mcnemar_is_the_exact_binomial_test():
    a, b = np.zeros(100, bool), np.zeros(100, bool)
    b[:10] = a[10:12] = True
    # 2 x (C(12,0) + C(12,1) + C(12,2)) / 2^12
    assert mcnemar(a, b) == pytest.approx(2 * 79 / 4096)
    assert mcnemar(a, a) == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_summary_of_networks_that_agree_weighs_them_by_their_precision():
    sharp, vague = student_interval(0.02, 0.01, 1e6), student_interval(0.03, 0.02, 1e6)
    found = summarize([sharp, vague])
    # weights 4 : 1, between-variance 0; Hartung and Knapp's spread of two is the wider one
    assert found.mean == pytest.approx(0.022)
    assert found.high - found.low >= 2 * 1.95 * np.sqrt(1 / 12500)


def test_summary_of_networks_that_differ_weighs_them_alike_and_is_wide():
    effects = [student_interval(mean, 0.001, 1e6) for mean in (0.00, 0.05, 0.10)]
    found = summarize(effects)
    assert found.mean == pytest.approx(0.05, abs=1e-4)
    assert found.error == pytest.approx(0.05 / np.sqrt(3), rel=0.01)
    assert found.low < 0 < found.high
    assert summarize(effects[:1]) == effects[0]


def test_a_network_without_any_spread_does_not_take_all_the_weight():
    none, some = student_interval(0.0, 0.0, float("inf")), student_interval(0.04, 0.01, 1e6)
    found = summarize([none, some])
    assert found.mean == pytest.approx(0.02)
    assert found.low < 0 < 0.04 < found.high
    assert summarize([none, none]).mean == 0.0


WIN = student_interval(0.021, 0.004, 1e6)
NOTHING = student_interval(0.003, 0.006, 1e6)
LOSS = student_interval(-0.03, 0.005, 1e6)


@pytest.mark.parametrize(
    ("effect", "adjusted_p", "control", "against", "said", "unsaid"),
    [
        (WIN, 0.001, NOTHING, WIN, ["by 2.1 points [1.3, 2.9] over 3 networks", "say more"], "chance"),
        (WIN, 0.001, WIN, NOTHING, ["beats", "the difference to aligned, +0.3 points", "within chance"], "say more"),
        (NOTHING, 0.6, LOSS, WIN, ["No difference", "+0.3 points"], "beats"),
        (LOSS, 0.001, NOTHING, LOSS, ["below the baseline by 3.0 points [2.0, 4.0]", "worse than that"], "beats"),
        (WIN, 0.2, NOTHING, WIN, ["No difference", "by chance (adjusted p = 0.2)"], "beats"),
    ],
)
def test_a_conclusion_says_what_is_shown_and_no_more(effect, adjusted_p, control, against, said, unsaid):
    aligned = Effect("clean", "all models", "aligned", effect, adjusted_p)
    names = Effect("clean", "all models", "class_name", control, 1.0)
    text = conclusion(aligned, [(names, against)], "3 networks")
    assert all(words in text for words in said), text
    assert unsaid not in text
