"""Prices, and the forecast: known answers, and how often its intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from sightwords.descriptions.cost import Price, estimate, make_forecast, measure_rate, read_price
from sightwords.descriptions.schema import Description
from sightwords.errors import ConfigError, ModelError, UnknownNameError

SINCE = 1000.0


def read(tmp_path, text, model="m"):
    path = tmp_path / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    return read_price(path, model)


def answer(number, status="ok", tokens=(300, 50), seconds=0.2, at=None):
    created_at = SINCE + 60 + number / 5 if at is None else at
    return Description(f"k{number:03d}", 1, 1, 0, "x" * 160, status, "", *tokens, seconds, created_at)


def test_price_by_name_and_by_pattern(tmp_path):
    table = "currency: EUR\n'*72B*': {per_hour: 4}\nqwen*: {input: 0, output: 0, per_hour: 2}\nQwen-A: {per_hour: 3}\n"
    assert read(tmp_path, table, "qwen-a") == Price(per_hour=3, currency="EUR")
    assert read(tmp_path, table, "Qwen/Qwen3-VL-72b").per_hour == 4  # the first pattern that fits
    assert read(tmp_path, table, "Qwen/Qwen3-VL-8B").per_hour == 2
    with pytest.raises(UnknownNameError, match=r"lama.*prices\.yaml"):
        read(tmp_path, table, "lama")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("m: {input: -1, output: 2}", "-1.*0 or more"),
        ("m: {input: cheap, output: 1}", "cheap"),
        ("m: {input: 1, output: 1, per_minute: 2}", "per_minute"),
        ("m: 3", "m is 3"),
        ("m: {per_hour: 1", "line 1"),
        ("m: !!python/object/apply:os.system ['true']", "python/object"),
        ("- m", "no table"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, text)
    with pytest.raises(ConfigError, match="No such file"):
        read_price(tmp_path / "none.yaml", "m")


def test_cost_of_tokens_and_hours():
    price = Price(input=0.5, output=2.0, per_hour=3.6)
    assert price.cost(2_000_000, 500_000, 100) == pytest.approx(2.1)
    assert [Price().money(amount) for amount in (0, 1234.5, 0.0042)] == ["0.00 USD", "1,234.50 USD", "0.0042 USD"]


def test_equal_answers_give_exact_figures_without_ranges():
    pilot = [[answer(i, "rejected"), answer(i)] for i in range(50)]
    found = make_forecast(pilot, SINCE, num_left=950, price=Price(input=1.0, output=4.0, per_hour=7.2))
    assert found.table == [
        ("", "950 that remain", "all 1,000"),
        ("Time", "3 min 10 s", "3 min 20 s"),  # 5 a second
        ("Requests", "1,900", "2,000"),
        ("Tokens sent", "570,000", "600,000"),
        ("Tokens received", "95,000", "100,000"),
        ("Cost", "1.33 USD", "1.40 USD"),
        ("Storage", "760.0 kB", "800.0 kB"),
    ]
    assert dict(found.facts) == {
        "Pilot": "50 images, 50 descriptions",
        "Usable": "100.0% (92.9% to 100.0%)",  # Wilson
        "Rate": "5.00 descriptions a second",
    }


@pytest.mark.parametrize("num_pilot", [6, 40])
def test_intervals_hold_the_truth_about_95_times_of_100(num_pilot):
    rng = np.random.default_rng(num_pilot)
    held = 0
    for _ in range(1000):
        texts = rng.gamma(4, 20, 600)
        found = estimate(np.arange(num_pilot), texts[:num_pilot], 600 - num_pilot)
        held += found.low <= texts[num_pilot:].sum() <= found.high
    assert 0.91 <= held / 1000 <= 0.97


def test_descriptions_of_one_image_are_one_observation():
    texts = np.random.default_rng(0).gamma(4, 20, 200)
    alike = estimate(np.repeat(np.arange(200), 4), np.repeat(texts, 4), 100_000)
    apart = estimate(np.arange(800), np.repeat(texts, 4), 100_000)
    assert (alike.high - alike.low) / (apart.high - apart.low) == pytest.approx(2.0, rel=0.05)


def test_what_the_describer_does_not_report_is_left_out_and_said():
    pilot = [[answer(i, tokens=(None, None), seconds=None, at=0.0)] for i in range(40)]
    found = make_forecast(pilot, SINCE, 360, Price(input=1, output=1))
    assert [row[0] for row in found.table] == ["", "Requests", "Storage"]
    assert any("does not report" in note for note in found.notes)
    assert make_forecast(pilot, SINCE, 360, Price()).table[2][0] == "Cost"  # free: needs no tokens
    assert any("--prices" in note for note in make_forecast(pilot, SINCE, 360).notes)
    mixed = [[answer(i)] for i in range(39)] + [[answer(39, "failed", (None, None))]]
    assert make_forecast(mixed, SINCE, 360).table[3][0] == "Tokens sent"


def test_small_and_empty_pilots():
    found = make_forecast([[answer(0)]], SINCE, 899)
    assert " to " not in found.table[3][1]
    assert any("rough guess" in note for note in found.notes)
    with pytest.raises(ModelError, match="no description"):
        make_forecast([], SINCE, 10)


def served(num, concurrency, latency_s, load_s):
    """Return arrivals of a server that keeps `concurrency` questions in flight after loading."""
    rng, free, arrivals = np.random.default_rng(0), [load_s] * concurrency, []
    for _ in range(num):
        slot = int(np.argmin(free))
        took = latency_s * rng.uniform(0.8, 1.2)
        free[slot] += took
        arrivals.append((free[slot], took))
    return arrivals


def test_the_rate_leaves_the_start_out_where_it_can():
    assert measure_rate(served(200, 8, 2.0, load_s=60.0)) == (pytest.approx(4.0, rel=0.1), True)
    batches = [(20 + 4.0 * (b + 1) + 0.001 * i, 4.0 / 8) for b in range(7) for i in range(8)]
    assert measure_rate(batches) == (pytest.approx(2.0, rel=0.01), True)
    rate, steady = measure_rate(served(50, 64, 2.0, load_s=0.0))  # a single wave
    assert (rate, steady) == (pytest.approx(50 / 2.4, rel=0.05), False)
    assert measure_rate([]) == (0.0, True)
