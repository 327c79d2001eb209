"""Differences, their intervals and their wording, against answers worked out by hand and against simulation."""

import math
import time

import numpy as np
import pytest
from scipy import stats

from sightwords.errors import ConfigError, DataError
from sightwords.stages.compare.statistics import Interval, holm, mcnemar, paired_interval, share_explained, summarize
from sightwords.stages.compare.verdict import verdict


def about(mean, error):
    """Return the normal 95% interval of a mean with a standard error."""
    p_value = 2 * stats.norm.sf(abs(mean) / error)
    half = 1.959964 * error
    return Interval(mean, mean - half, mean + half, stats.norm.cdf(mean / error), p_value)


def right(rng, ease_N, num_seeds, seed_spread, image_spread=0.5):
    """Return what simulated networks get right: images differ in ease, seeds by training noise, arms by image."""
    own_N = rng.normal(0, image_spread, ease_N.size)
    chance_SN = 1 / (1 + np.exp(-(ease_N + own_N + rng.normal(0, seed_spread, (num_seeds, 1)))))
    return rng.random((num_seeds, ease_N.size)) < chance_SN


def coverage(num_seeds, num_images, seed_spread, num_trials=400):
    """Return how often the interval of two arms with the same true accuracy holds 0."""
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(num_trials):
        ease_N = rng.normal(1, 1.5, num_images)
        a, b = (right(rng, ease_N, num_seeds, seed_spread) for _ in range(2))
        interval = paired_interval(a, b, num_samples=300, seed=trial)
        covered += interval.low <= 0 <= interval.high
    return covered / num_trials


@pytest.mark.parametrize(
    ("num_seeds", "num_images", "seed_spread"),
    [(1, 200, 0.0), (1, 1000, 0.0), (2, 200, 0.06), (3, 200, 0.1), (5, 200, 0.1), (5, 200, 0.3)],
)
def test_intervals_of_equal_arms_hold_zero_as_often_as_they_say(num_seeds, num_images, seed_spread):
    assert 0.92 <= coverage(num_seeds, num_images, seed_spread) <= 0.99


def test_a_real_effect_is_found_and_its_size_too():
    rng = np.random.default_rng(1)
    a = rng.random((5, 1000)) < 0.70
    b = a | (rng.random((5, 1000)) < 0.05 / 0.30)  # 5 points: a sixth of the errors put right
    interval = paired_interval(a, b)
    assert 0 < interval.low < 0.05 < interval.high
    assert interval.mean == pytest.approx(b.mean() - a.mean())
    assert interval.probability > 0.999
    assert interval.p_value < 0.001


def test_a_real_effect_is_found_in_independent_trainings():
    rng = np.random.default_rng(2)
    found = 0
    for trial in range(20):
        ease_N = rng.normal(1.2, 2, 1000)
        a, b = right(rng, ease_N, 5, 0.05), right(rng, ease_N + 0.45, 5, 0.05)  # about 5 points
        found += paired_interval(a, b, num_samples=500, seed=trial).low > 0
    assert found >= 18


def test_a_constant_effect_is_found():
    a = np.full((3, 1000), 0.5)
    interval = paired_interval(a, a + 0.05)
    assert interval.mean == pytest.approx(0.05)
    assert 0.045 < interval.low < 0.05 < interval.high < 0.055


@pytest.mark.parametrize("num_seeds", [1, 2, 5])
def test_identical_arms_differ_by_nothing_but_not_for_certain(num_seeds):
    a = np.random.default_rng(0).random((num_seeds, 200)) < 0.7
    interval = paired_interval(a, a)
    assert interval.mean == 0
    assert interval.low < 0 < interval.high < 0.02
    assert interval.p_value == 1
    assert interval.probability == 0.5


def test_swapped_arms_give_the_mirrored_interval_and_draws_repeat():
    rng = np.random.default_rng(3)
    a, b = rng.random((3, 300)) < 0.6, rng.random((3, 300)) < 0.7
    there, back = paired_interval(a, b), paired_interval(b, a)
    assert there == paired_interval(a, b)
    assert there.mean == pytest.approx(-back.mean)
    # the draws differ, as images are grouped in another order
    assert there.low == pytest.approx(-back.high, abs=0.004)
    assert there.probability == pytest.approx(1 - back.probability, abs=0.01)


def test_one_seed_gives_the_normal_interval_of_paired_proportions():
    a = np.array([[True] * 40 + [False] * 60])
    b = np.array([[True] * 35 + [False] * 5 + [True] * 15 + [False] * 45])  # 5 lost, 15 won
    interval = paired_interval(a, b, num_samples=20000)
    # ((15 + 5) - (15 - 5)**2 / 100) / 99 / 100, and 2 / 100**2 for the pair added each way
    error = math.sqrt((20 - 1) / 99 / 100 + 2 / 100**2)
    half = stats.t.ppf(0.975, 99) * error
    assert interval.mean == pytest.approx(0.10)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.02)


def test_seeds_that_disagree_widen_the_interval_as_students_t_over_seeds():
    rng = np.random.default_rng(4)
    a = np.full((3, 400), 0.5)
    b = np.clip(0.5 + np.array([[0.0], [0.1], [0.2]]) + rng.normal(0, 0.001, (3, 400)), 0, 1)
    interval = paired_interval(a, b, num_samples=20000)
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert interval.high - interval.mean == pytest.approx(half, rel=0.03)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.99])
def test_p_value_and_interval_agree_on_zero(level):
    rng = np.random.default_rng(5)
    for _ in range(20):
        a, b = rng.random((3, 100)) < 0.6, rng.random((3, 100)) < 0.66
        interval = paired_interval(a, b, level=level, num_samples=100)
        assert (interval.low <= 0 <= interval.high) == (interval.p_value >= 1 - level)
        assert interval.p_value == pytest.approx(2 * min(interval.probability, 1 - interval.probability))


def test_five_seeds_and_five_thousand_images_are_fast():
    rng = np.random.default_rng(6)
    a, b = rng.random((5, 5000)) < 0.7, rng.random((5, 5000)) < 0.7
    start = time.process_time()
    paired_interval(a, b)
    assert time.process_time() - start < 0.6  # about 0.1 s; slack for a busy machine


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((2, 9)), np.zeros((3, 9))),
        (np.zeros(9), np.zeros(9)),
        (np.zeros((2, 1)), np.zeros((2, 1))),
        (np.zeros((2, 9)), np.full((2, 9), np.nan)),
        (np.zeros((2, 9)), np.full((2, 9), 70.0)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(a, b):
    with pytest.raises(DataError):
        paired_interval(a, b)


def test_options_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="level is 95"):
        paired_interval(np.zeros((2, 9)), np.zeros((2, 9)), level=95)
    with pytest.raises(ConfigError, match="num_samples 1"):
        paired_interval(np.zeros((2, 9)), np.zeros((2, 9)), num_samples=1)


def test_mcnemar_by_hand():
    a = np.array([True] * 10 + [False] * 2 + [True] * 50 + [False] * 30)
    b = np.array([False] * 10 + [True] * 2 + [True] * 50 + [False] * 30)
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(b, a) == mcnemar(a, b)
    assert mcnemar(a, a) == 1
    with pytest.raises(DataError):
        mcnemar(a, b[1:])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_summary_by_hand():
    # Q = 9 + 1 + 16 = 26, C = 2e4, tau2 = 24 / 2e4 = 0.0012; scatter = 26e-4 / 0.0013 / 2 = 1
    summary = summarize([about(mean, 0.01) for mean in (0.02, 0.04, 0.09)])
    assert summary.mean == pytest.approx(0.05)
    assert summary.high - summary.mean == pytest.approx(4.302653 * math.sqrt(0.0013 / 3), rel=1e-5)
    assert summary.low < 0 < summary.high
    assert summary.p_value > 0.05


def test_summary_weighs_the_surer_network_more():
    # fixed mean 0.018, Q = 3.2, C = 4000, tau2 = 0.00055; weights 1 / 0.00065 and 1 / 0.00095
    summary = summarize([about(0.01, 0.01), about(0.05, 0.02)])
    assert summary.mean == pytest.approx((0.01 / 0.00065 + 0.05 / 0.00095) / (1 / 0.00065 + 1 / 0.00095))


@pytest.mark.parametrize("means", [(0.02, 0.02, 0.02), (0.02, 0.0201, 0.0199)])
def test_summary_of_equal_effects_is_not_narrower_than_the_fixed_effect(means):
    summary = summarize([about(mean, 0.01) for mean in means])
    assert summary.high - summary.mean == pytest.approx(1.959964 * 0.01 / math.sqrt(3), rel=1e-5)
    assert summary.p_value == pytest.approx(2 * stats.norm.sf(0.02 / 0.01 * math.sqrt(3)), rel=1e-4)
    assert summary.probability == pytest.approx(1 - summary.p_value / 2)


def test_summary_of_one_is_itself_and_of_none_is_refused():
    effect = about(0.02, 0.01)
    assert summarize([effect]) is effect
    with pytest.raises(DataError):
        summarize([])


def test_summary_of_losses_has_a_low_probability_of_gain():
    assert summarize([about(-0.03, 0.005), about(-0.032, 0.005)]).probability < 0.01


def test_share_explained():
    assert share_explained(about(0.01, 0.01), about(0.04, 0.01)) == pytest.approx(0.25)
    assert share_explained(about(-0.01, 0.01), about(0.04, 0.01)) == pytest.approx(-0.25)
    assert share_explained(about(0.01, 0.01), about(0.01, 0.01)) is None


def test_points():
    assert Interval(0.021, 0.012, 0.030, 1, 0).points() == "+2.1 points [+1.2, +3.0]"
    assert Interval(-0.0001, -0.011, 0.012, 0.5, 1).points() == "+0.0 points [-1.1, +1.2]"
    assert Interval(0.01, 0.0002, 0.02, 0.98, 0.04).points() == "+1.00 points [+0.02, +2.00]"


WIN = Interval(0.021, 0.012, 0.030, 0.999, 0.001)
NOTHING = Interval(0.003, -0.009, 0.015, 0.7, 0.6)
LOSS = Interval(-0.013, -0.022, -0.004, 0.01, 0.01)
NAMES = Interval(0.014, 0.005, 0.023, 0.99, 0.01)
LITTLE = Interval(0.007, -0.001, 0.015, 0.95, 0.08)


def test_verdict_of_a_gain_that_class_names_may_explain():
    text = verdict("aligned", WIN, 0.002, {"class_name": NAMES}, {"class_name": LITTLE}, 3, 5, 1049)
    assert text.startswith(
        "aligned beats baseline by 2.1 points [1.2, 3.0] over 3 models, 5 seeds and 1,049 images (adjusted p = 0.002). "
        "Class names alone give +1.4 points [0.5, 2.3] over baseline, and aligned adds +0.7 points [-0.1, 1.5] to that, "
        "which is within chance: it is not shown that the text does more than the names of the classes."
    )
    assert "seed the" not in text
    assert "No control" not in text


def test_verdict_says_what_each_control_means():
    controls = {"shuffled": LOSS, "random_vectors": NOTHING, "class_name": NAMES, "shuffled_within_class": NAMES}
    text = verdict("aligned", WIN, 0.0002, controls, dict.fromkeys(controls, WIN), 3, 5, 1049)
    assert "(adjusted p < 0.001)" in text
    assert "it matters that the text belongs to the image" in text
    assert "part of that lead is the harm that the control does" in text
    assert "it matters what the text means" in text
    assert "more than the names of the classes" in text
    assert "it matters what the text says of its own image" in text
    assert "not shown" not in text
    doubtful = verdict("aligned", WIN, 0.0002, controls, dict.fromkeys(controls, LITTLE), 3, 5, 1049)
    assert doubtful.count("within chance: it is not shown that") == 4
    beaten = verdict("aligned", WIN, 0.0002, {"class_name": NAMES}, {"class_name": LOSS}, 3, 5, 1049)
    assert "a loss beyond chance: the control does better" in beaten


def test_verdict_of_a_loss_and_of_nothing():
    loss = verdict("aligned", LOSS, 0.02, {"class_name": NAMES}, {"class_name": LOSS}, 3, 5, 1049)
    assert loss.startswith("aligned is below baseline by 1.3 points [0.4, 2.2] over")
    nothing = verdict("aligned", NOTHING, 0.6, {"class_name": NAMES}, {"class_name": LITTLE}, 3, 5, 1049)
    assert "no difference is shown: +0.3 points [-0.9, 1.5]" in nothing
    assert "that is no proof that there is none" in nothing
    for text in (loss, nothing):
        assert "beats" not in text
        assert "As no gain is shown, there is none for the controls to explain." in text


def test_verdict_heeds_the_adjusted_p_value():
    text = verdict("aligned", WIN, 0.07, {}, {}, 3, 5, 1049)
    assert "no difference is shown" in text
    assert "not enough for the number of arms that were tried" in text


def test_verdict_names_what_is_not_known():
    text = verdict("aligned", WIN, 0.002, {}, {}, 1, 1, 1)
    assert "over 1 model, 1 seed and 1 image " in text
    assert "the spread over seeds is unknown" in text
    assert "not shown that the meaning of the text matters" in text
    assert "the one network" in text
    assert "Two seeds say little" in verdict("aligned", WIN, 0.002, {}, {}, 2, 2, 10)
    assert "was not compared with that" in verdict("aligned", WIN, 0.002, {"own": NAMES}, {}, 2, 3, 10)
    assert "adjusted p = 0.0499" in verdict("aligned", WIN, 0.0499, {}, {}, 2, 3, 10)
