"""Prices, and the forecast from a pilot: time, tokens, cost and storage of the whole, with 95% intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from rich.filesize import decimal

from sightwords.descriptions.schema import Description
from sightwords.errors import ConfigError, ModelError, UnknownNameError
from sightwords.progress import duration

_EXAMPLE = "for example gpt-4.1-mini: {input: 0.40, output: 1.60}"
_WANTED = f"it must hold input and output, or per_hour, or all three, as numbers of 0 or more, {_EXAMPLE}"


@dataclass(frozen=True)
class Price:
    """What one model costs, in `currency`.

    Attributes:
        input: price of a million tokens sent.
        output: price of a million tokens received.
        per_hour: price of an hour of the machine that the model runs on.
    """

    input: float = 0.0
    output: float = 0.0
    per_hour: float = 0.0
    currency: str = "USD"

    def cost(self, num_prompt_tokens: float, num_text_tokens: float, seconds: float = 0.0) -> float:
        """Return the cost of `num_prompt_tokens` sent, `num_text_tokens` received and seconds of wall-clock time."""
        tokens = num_prompt_tokens * self.input + num_text_tokens * self.output if self.input or self.output else 0.0
        return tokens / 1e6 + (seconds * self.per_hour / 3600 if self.per_hour else 0.0)

    def money(self, amount: float) -> str:
        """Return an amount in words, with two significant digits where it is small: `1,234.50 USD`, `0.0042 USD`."""
        decimals = 2 if amount >= 0.1 or amount <= 0 else min(8, 1 - math.floor(math.log10(amount)))
        return f"{amount:,.{decimals}f} {self.currency}"


def read_price(path: Path, model: str) -> Price:
    """Return the price of a model from a YAML file: `MODEL: {input: PRICE, output: PRICE, per_hour: PRICE}` for each.

    A model may be a pattern ("qwen*"); an exact name goes before the first pattern that fits, and case does not matter.

    Raises:
        ConfigError: the file is missing or does not hold such a table.
        UnknownNameError: it has no price for the model.
    """
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"Cannot read the prices {path}: {' '.join(str(error).split())}.") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path} holds no table of prices. Write a line for each model, {_EXAMPLE}")
    currency = str(table.pop("currency", "USD"))
    prices = {str(name).lower(): _price(f"{path}: {name}", entry, currency) for name, entry in table.items()}
    fitting = [price for name, price in prices.items() if fnmatchcase(model.lower(), name)]
    if not fitting:
        raise UnknownNameError("model in the table of prices:", model, prices, f"Add it to {path}, or a pattern.")
    return prices.get(model.lower(), fitting[0])


def _price(where: str, entry: Any, currency: str) -> Price:
    allowed = ({"input", "output"}, {"per_hour"}, {"input", "output", "per_hour"})
    numbers = list(entry.values()) if isinstance(entry, dict) and set(entry) in allowed else [None]
    if not all(isinstance(number, int | float) and 0 <= number < math.inf for number in numbers):
        raise ConfigError(f"{where} is {entry!r}; {_WANTED}")
    return Price(**entry, currency=currency)


class Estimate(NamedTuple):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def words(self, word: Callable[[float], str]) -> str:
        """Return `VALUE (LOW to HIGH)`, each as `word` writes it."""
        value, low, high = map(word, self)
        return value if low == high else f"{value} ({low} to {high})"


class Forecast(NamedTuple):
    """What a pilot predicts: facts on the pilot, a table (its heading first), and notes on how sure the figures are."""

    facts: list[tuple[str, str]]
    table: list[tuple[str, str, str]]
    notes: list[str]


def make_forecast(
    pilot: Sequence[Sequence[Description]], since: float, num_left: int, price: Price | None = None
) -> Forecast:
    """Return what a pilot predicts for all descriptions, if the other images are like the pilot's.

    The intervals are prediction intervals by Student's t; the descriptions of an image are one observation.

    Args:
        pilot: the attempts at each of its descriptions.
        since: when this run began, in seconds since 1970.
        num_left: descriptions that remain.
        price: the model's price, where known.

    Raises:
        ModelError: the pilot has no description.
    """
    from scipy.stats import binomtest

    if not pilot:
        raise ModelError("The pilot got no description, so there is nothing to forecast from.")
    last = [attempts[-1] for attempts in pilot]
    rate, steady = measure_rate([(o.created_at - since, o.seconds or 0.0) for o in last if o.created_at >= since])
    columns = _columns(pilot, rate, price)
    owners = np.unique([one.key for one in last], return_inverse=True)[1]
    usable = binomtest(sum(one.status == "ok" for one in last), len(last))
    share = Estimate(usable.statistic, *usable.proportion_ci(method="wilson")).words("{:.1%}".format)
    facts = [("Pilot", f"{owners.max() + 1:,} images, {len(pilot):,} descriptions"), ("Usable", share)]
    facts += [("Rate", f"{rate:,.2f} descriptions a second" + ("" if steady else " (cold start)"))] if rate else []
    table = [("", f"{num_left:,} that remain", f"all {len(pilot) + num_left:,}")]
    for name, (title, word) in _FIGURES.items():
        if name in columns:
            word = price.money if name == "cost" and price else word
            left = estimate(owners, columns[name], num_left)
            total = Estimate(*(float(columns[name].sum()) + end for end in left))
            table.append((title, left.words(word), total.words(word)))
    notes = {
        "The ranges are 95% intervals. They hold if the other images are like these.": owners.max() > 0,
        "So few images give a rough guess. Use 100 for a better one.": owners.max() < 29,
        "The rate includes the start, such as loading the model. The rest will mostly go faster.": not steady,
        "The describer does not report how many tokens it uses.": "num_prompt_tokens" not in columns,
        "For the cost, give --prices FILE.": price is None,
    }
    return Forecast(facts, table, [note for note, applies in notes.items() if applies])


_FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "seconds": ("Time", duration),
    "num_requests": ("Requests", "{:,.0f}".format),
    "num_prompt_tokens": ("Tokens sent", "{:,.0f}".format),
    "num_text_tokens": ("Tokens received", "{:,.0f}".format),
    "cost": ("Cost", str),
    "num_bytes": ("Storage", lambda size: decimal(round(size))),
}


def measure_rate(arrivals: Sequence[tuple[float, float]]) -> tuple[float, bool]:
    """Return descriptions per second from arrivals (when, time taken; in seconds), and whether the start is left out.

    It is where half of the work or more was done after the first answer had come; only that counts then.
    """
    if not arrivals:
        return 0.0, True
    first, last = min(arrivals)[0], max(arrivals)[0]
    num_later = sum(min(1.0, (time - first) / max(seconds, 1e-9)) for time, seconds in arrivals)
    if len(arrivals) < 10 or 2 * num_later < len(arrivals) or first == last:
        return len(arrivals) / max(last, 1e-9), False
    return num_later / (last - first), True


def _columns(pilot: Sequence[Sequence[Description]], rate: float, price: Price | None) -> dict[str, np.ndarray]:
    """Return the figures that are known, float64 (descriptions,) each, all attempts at a description added up."""
    names = ("num_prompt_tokens", "num_text_tokens", "seconds")
    columns = {name: np.array([_sum(attempts, name) for attempts in pilot]) for name in names}
    columns["num_requests"] = np.array([float(len(attempts)) for attempts in pilot])
    columns["num_bytes"] = np.array([sum(240.0 + len(one.text) for one in attempts) for attempts in pilot])
    own = columns["seconds"] if columns["seconds"].sum() > 0 else np.ones(len(pilot))
    columns["seconds"] = own / (own.mean() * rate) if rate else np.full(len(pilot), np.nan)
    if price is not None:
        columns["cost"] = np.array([price.cost(*row) for row in np.stack([columns[n] for n in names], axis=1)])
    return {name: column for name, column in columns.items() if not np.isnan(column).any()}


def _sum(attempts: Sequence[Description], name: str) -> float:
    """Return the sum of a figure over attempts; NaN where a usable description lacks it."""
    known = [value for one in attempts if (value := getattr(one, name)) is not None]
    return math.nan if not known and attempts[-1].status == "ok" else float(sum(known))


def estimate(owners: np.ndarray, column: np.ndarray, num_left: int) -> Estimate:
    """Return the sum of a figure, `column` (N,), over the `num_left` that remain; `owners` (N,) are image numbers."""
    from scipy.stats import t

    counts, sums = np.bincount(owners), np.bincount(owners, column)
    value, num_images, images_left = float(num_left * column.mean()), len(counts), num_left / counts.mean()
    if num_images < 2:
        return Estimate(value, value, value)
    variance = ((sums - counts * column.mean()) ** 2).sum() / (num_images - 1)
    half = t.ppf(0.975, num_images - 1) * math.sqrt(variance * (images_left**2 / num_images + images_left))
    return Estimate(value, max(0.0, value - half), value + half)
