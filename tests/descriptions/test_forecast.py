"""Tests of the forecast: known answers, its words, and how often its intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sightwords.descriptions.forecast import (
    Pace,
    PilotAnswer,
    count,
    make_forecast,
    measure_pace,
    span,
    storage,
    wilson,
)
from sightwords.descriptions.prices import Price
from sightwords.errors import ModelError

STEADY = Pace(5.0, steady=True)


def pilot(num, seed=0, mean=100.0):
    rng = np.random.default_rng(seed)
    return [
        PilotAnswer(f"k{i}", "ok", 1, 300, int(rng.gamma(4, mean / 4)), float(rng.uniform(1, 3)), 400)
        for i in range(num)
    ]


def test_equal_answers_give_exact_figures_without_ranges():
    answers = [PilotAnswer(f"k{i}", "ok", 2, 300, 50, 2.0, 400) for i in range(50)]
    price = Price(input=1.0, output=4.0, per_hour=7.2)
    told = make_forecast(answers, STEADY, num_total=1000, num_left=900, price=price)
    assert told.left.num_requests.value == pytest.approx(1800)
    assert told.left.num_prompt_tokens.value == pytest.approx(270_000)
    assert told.total.num_text_tokens.value == pytest.approx(50_000)
    assert told.left.seconds.value == pytest.approx(180)  # 900 at 5 a second
    assert told.total.num_bytes.value == pytest.approx(400_000)
    assert told.left.cost.value == pytest.approx(0.27 + 0.18 + 180 * 7.2 / 3600)
    for need in (told.left, told.total):
        assert need.num_prompt_tokens.low == pytest.approx(need.num_prompt_tokens.value)
        assert need.cost.high == pytest.approx(need.cost.value)
    assert told.table() == [
        ("", "900 that remain", "all 1,000"),
        ("Time", "3 min 00 s", "3 min 20 s"),
        ("Requests", "1,800", "2,000"),
        ("Tokens sent", "270,000", "300,000"),
        ("Tokens received", "45,000", "50,000"),
        ("Cost", "0.81 USD", "0.90 USD"),
        ("Storage", "360 kB", "400 kB"),
    ]


@pytest.mark.parametrize("num_left", [10_000, 50])
def test_the_interval_of_the_left_is_that_of_the_mean_and_the_scatter(num_left):
    answers = pilot(200)
    texts = np.array([a.num_text_tokens for a in answers])
    left = make_forecast(answers, STEADY, 200 + num_left, num_left).left.num_text_tokens
    assert left.value == pytest.approx(num_left * texts.mean())
    half = 1.972 * texts.std(ddof=1) * math.sqrt(num_left**2 / 200 + num_left)  # Student's t, 199 degrees of freedom
    assert left.high - left.low == pytest.approx(2 * half, rel=0.1)


def test_the_whole_holds_the_pilot_as_it_was():
    answers = pilot(100)
    known = sum(a.num_text_tokens for a in answers)
    done = make_forecast(answers, STEADY, num_total=100, num_left=0)
    assert (done.total.num_text_tokens.low, done.total.num_text_tokens.high) == (known, known)
    assert done.left.num_text_tokens.value == 0
    more = make_forecast(answers, STEADY, num_total=110, num_left=10)
    assert more.total.num_text_tokens.low > known
    assert more.total.num_text_tokens.value == pytest.approx(known * 1.1)


@pytest.mark.parametrize("num_pilot", [5, 12, 40])
def test_intervals_hold_the_truth_about_95_times_of_100(num_pilot):
    rng = np.random.default_rng(num_pilot)
    num_trials, num_all, held = 250, 600, 0
    for trial in range(num_trials):
        texts = rng.gamma(3, 20, num_all).round().astype(int)
        answers = [PilotAnswer(str(i), "ok", num_text_tokens=int(t)) for i, t in enumerate(texts[:num_pilot])]
        total = make_forecast(answers, None, num_all, num_all - num_pilot, seed=trial).total.num_text_tokens
        held += total.low <= texts.sum() <= total.high
    assert 0.915 <= held / num_trials <= 0.99


@pytest.mark.parametrize("num_left", [100_000, 40])
def test_descriptions_of_one_image_are_resampled_together(num_left):
    alike = [PilotAnswer(a.image, "ok", 1, 300, a.num_text_tokens) for a in pilot(200) for _ in range(4)]
    apart = [PilotAnswer(f"{a.image}/{i}", "ok", 1, 300, a.num_text_tokens) for i, a in enumerate(alike)]
    widths = []
    for answers in (alike, apart):
        left = make_forecast(answers, None, 800 + num_left, num_left).left.num_text_tokens
        widths.append(left.high - left.low)
    assert widths[0] / widths[1] == pytest.approx(2.0, rel=0.15)  # a quarter of the independent draws


def test_the_same_seed_gives_the_same_forecast():
    assert make_forecast(pilot(40), STEADY, 900, 860, seed=3) == make_forecast(pilot(40), STEADY, 900, 860, seed=3)
    assert make_forecast(pilot(40), STEADY, 900, 860, seed=3) != make_forecast(pilot(40), STEADY, 900, 860, seed=4)


def test_what_the_describer_does_not_tell_is_left_out_and_said():
    answers = [PilotAnswer(str(i), "ok") for i in range(40)]
    told = make_forecast(answers, None, 400, 360, Price(input=1, output=1))
    assert [row[0] for row in told.table()] == ["", "Requests"]
    assert "The describer does not tell how many tokens it uses." in told.notes()
    assert any("cost cannot be told" in note for note in told.notes())
    free = make_forecast(answers, None, 400, 360, Price())
    assert free.total.cost.value == 0
    rented = make_forecast(answers, STEADY, 400, 360, Price(per_hour=3600))
    assert rented.left.cost.value == pytest.approx(72)
    assert make_forecast(answers, None, 400, 360, Price(per_hour=3600)).left.cost is None
    assert any("--prices" in note for note in make_forecast(answers, None, 400, 360).notes())


def test_a_failure_without_tokens_does_not_hide_those_of_the_others():
    answers = [*pilot(39), PilotAnswer("failed", "failed", 3)]
    told = make_forecast(answers, STEADY, 400, 360)
    assert told.total.num_prompt_tokens.value == pytest.approx(3000 * 39)
    assert told.usable.value == 39 / 40
    lacking = [*pilot(39), PilotAnswer("odd", "ok", 1)]
    assert make_forecast(lacking, STEADY, 400, 360).total.num_prompt_tokens is None


def test_small_and_cold_pilots_say_so():
    cold = Pace(0.5, steady=False)
    notes = " ".join(make_forecast(pilot(8), cold, 900, 892).notes())
    assert "8 images tell little" in notes
    assert "cold start" in notes
    notes = " ".join(make_forecast(pilot(100), STEADY, 900, 800).notes())
    assert "tell little" not in notes
    assert "cold start" not in notes


def test_one_image_gives_no_ranges_and_none_is_an_error():
    told = make_forecast(pilot(1), STEADY, 900, 899)
    assert told.left.num_text_tokens.low is None
    assert " to " not in told.table()[4][1]
    assert "1 image tells little" in " ".join(told.notes())
    with pytest.raises(ModelError, match="no description"):
        make_forecast([], None, 10, 10)


def test_lines_are_aligned():
    told = make_forecast(pilot(100), STEADY, 50_000, 49_900, Price(0.4, 1.6))
    lines = told.lines()
    assert lines[0].startswith("Pilot: 100 images. Usable: 100.0% (96.3% to 100.0%). Rate: 5.0 descriptions a second.")
    rows = [line for line in lines if line.startswith("  ")]
    column = rows[0].index("all 50,000")
    cells = [row[1:] for row in told.table()]
    assert len(rows) == 7
    for row, (left, total) in zip(rows, cells, strict=True):
        assert row[column:] == total
        assert row[:column].rstrip().endswith(left)


@pytest.mark.parametrize(
    ("num_good", "num_all", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (45, 50, 0.7864, 0.9565), (1, 2, 0.0945, 0.9055)],
)
def test_wilson_against_known_values(num_good, num_all, low, high):
    share = wilson(num_good, num_all)
    assert (share.low, share.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def served(num, concurrency, latency_s, load_s, spread=0.2, seed=0):
    """Return arrivals of a server that keeps `concurrency` questions in flight after loading."""
    rng, free, arrivals = np.random.default_rng(seed), [load_s] * concurrency, []
    for _ in range(num):
        slot = int(np.argmin(free))
        took = latency_s * rng.uniform(1 - spread, 1 + spread)
        free[slot] += took
        arrivals.append((free[slot], took))
    return arrivals


def batched(num_batches, size, batch_s, load_s):
    return [(load_s + batch_s * (b + 1) + 0.001 * i, batch_s / size) for b in range(num_batches) for i in range(size)]


def test_the_pace_leaves_the_start_out():
    arrivals = served(200, 8, 2.0, load_s=60.0)
    pace = measure_pace(arrivals, max(time for time, _ in arrivals))
    assert pace.steady
    assert pace.rate == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("num_batches", [4, 7, 13])
def test_the_pace_of_batches_counts_whole_batches(num_batches):
    pace = measure_pace(batched(num_batches, 8, 4.0, load_s=20.0), 20 + 4.0 * num_batches)
    assert pace.steady
    assert pace.rate == pytest.approx(2.0, rel=0.01)


def test_a_pilot_of_a_single_wave_is_a_cold_start():
    arrivals = served(50, 64, 2.0, load_s=0.0)
    pace = measure_pace(arrivals, 2.4)
    assert pace == Pace(pytest.approx(50 / 2.4), steady=False)


def test_a_handful_is_a_cold_start():
    assert measure_pace(batched(9, 1, 1.0, load_s=11.0), 20.0) == Pace(0.45, steady=False)


def test_words_for_large_figures():
    assert [span(100), span(86400), span(3 * 86400)] == ["1 min 40 s", "24 h 00 min", "3.0 days"]
    assert [count(999_999), count(1_234_567), count(25e9), count(4e12)] == [
        "999,999",
        "1.23 million",
        "25.0 billion",
        "4,000 billion",
    ]
    assert [storage(999), storage(12_345), storage(5e9), storage(4e15)] == [
        "999 bytes",
        "12.3 kB",
        "5.00 GB",
        "4,000 TB",
    ]
