"""Tests of the table of prices."""

from __future__ import annotations

import pytest

from sightwords.descriptions.prices import Price, read_prices
from sightwords.errors import ConfigError, UnknownNameError


@pytest.fixture
def table(tmp_path):
    """Return a function that writes a table and reads it as prices."""

    def read(text: str):
        path = tmp_path / "prices.yaml"
        path.write_text(text, encoding="utf-8")
        return read_prices(path)

    return read


def test_a_price_by_name_by_pattern_and_by_default(table):
    prices = table(
        'currency: EUR\nGPT-mini: {input: 0.4, output: 1.6}\n"*72B*": {per_hour: 4}\n'
        "qwen*: {input: 0, output: 0, per_hour: 2}\ndefault: {input: 1, output: 2}\n"
    )
    assert prices.of("gpt-MINI") == Price(0.4, 1.6, 0.0, "EUR")
    assert prices.of("Qwen/Qwen3-VL-8B") == Price(per_hour=2.0, currency="EUR")
    assert prices.of("Qwen/Qwen3-VL-72b-Instruct").per_hour == 4  # the first pattern that fits
    assert prices.of("llama") == Price(1, 2, 0, "EUR")


def test_the_name_itself_goes_before_a_pattern(table):
    prices = table("a*: {per_hour: 1}\nabc: {per_hour: 2}\n")
    assert prices.of("abc").per_hour == 2
    assert prices.of("abd").per_hour == 1


def test_cost_of_tokens_and_hours():
    price = Price(input=0.5, output=2.0, per_hour=3.6)
    assert price.cost(2_000_000, 500_000) == pytest.approx(2.0)
    assert price.cost(0, 0, seconds=100) == pytest.approx(0.1)
    assert price.cost(2_000_000, 500_000, 100) == pytest.approx(2.1)
    assert price.needs_tokens
    assert not Price(per_hour=3).needs_tokens


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (0, "0.00 USD"),
        (1234.5, "1,234.50 USD"),
        (0.5, "0.50 USD"),
        (0.0042, "0.0042 USD"),
        (0.01, "0.010 USD"),
        (3e-7, "0.00000030 USD"),
        (1e-15, "0.00000000 USD"),
    ],
)
def test_money_keeps_digits_that_count(amount, told):
    assert Price().money(amount) == told


def test_an_unknown_model_lists_the_known(table):
    with pytest.raises(UnknownNameError, match=r"Unknown model .*'lama'.*llama.*Add it to .*prices\.yaml.*default"):
        table("llama: {per_hour: 1}\n").of("lama")


def test_currency_is_usd_unless_told(table):
    assert table("m: {per_hour: 1}").of("m").currency == "USD"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("m: {input: -1, output: 2}", "input of m is -1; it must be a number of 0 or more"),
        ("m: {input: 1, output: .inf}", "output of m is inf"),
        ("m: {input: 1, output: .nan}", "output of m is nan"),
        ("m: {input: cheap, output: 1}", "input of m is 'cheap'; it must be a plain number"),
        ("m: {input: 1e-1, output: 1}", "input of m is '1e-1'; it must be a plain number such as 0.15"),
        ("m: {input: true, output: 1}", "input of m is True"),
        ("m: {input: 1, output: 1, per_minute: 2}", "unknown field 'per_minute'. Allowed are: input, output, per_hour"),
        ("m: {input: 1}", "m has input. Give input and output together"),
        ("m: {output: 1, per_hour: 1}", "m has output and per_hour. Give input and output together"),
        ("m: {}", "m has no price"),
        ("m: 3", "m is 3; write its prices in braces"),
        ("m: {per_hour: 1}\nm: {per_hour: 2}", "line 2, column 1: m is there twice"),
        ("m: {per_hour: 1}\nn: {per_hour: 1", r"line 2, column \d+"),
        ("*mini: {per_hour: 1}", "in quotes"),
        ("m: !!python/object/apply:os.system ['true']", "line 1, column 4"),
        ("4: {per_hour: 1}", "model name 4 is not read as text; put it in quotes"),
        ("- m", "holds a list, not a table"),
        ("", "holds no prices"),
        ("currency: USD", "holds no prices"),
        ("currency: 5\nm: {per_hour: 1}", "currency is 5"),
    ],
)
def test_what_is_wrong_is_told(table, text, told):
    with pytest.raises(ConfigError, match=told):
        table(text)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"Cannot read the prices .*none\.yaml: No such file"):
        read_prices(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "prices.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_prices(tmp_path / "prices.yaml")
