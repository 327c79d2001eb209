"""A pilot: a sample of descriptions with a forecast for the whole, as one HTML page and as lines for the terminal.

The forecast says what time, tokens, cost and storage the whole takes, with 95% intervals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.filesize import decimal

from sightwords.descriptions.budget import Price
from sightwords.descriptions.questions import Target, Targets
from sightwords.descriptions.schema import Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ModelError
from sightwords.files import html_template, write_page
from sightwords.images.decode import thumbnail_uri
from sightwords.progress import duration

_THUMBNAIL_PX = 320
_NUM_BARS = 24
_STATES = {"failed": "failed", "rejected": "rejected", "ok": "usable"}  # in the order of the page

Answered = tuple[Target, list[Description]]


def pilot_answers(store: DescriptionSet, rows: tuple[int, int], targets: Targets) -> list[Answered]:
    """Return each target with the attempts at one of its descriptions, where there are any.

    Args:
        store: the set.
        rows: row ids of prompt and describer.
        targets: what the pilot asked about.
    """
    by_key = {targets.image_keys(target.key)[0]: target for target in targets}
    stored = groupby(store.rows(*rows, list(by_key)), key=lambda row: (row.key, row.sample))
    return [(by_key[key], list(attempts)) for (key, _), attempts in stored]


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


def forecast_lines(forecast: Forecast) -> list[str]:
    """Return a forecast for the terminal."""
    widths = [max(len(row[i]) for row in forecast.table) for i in range(2)]
    rows = [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in forecast.table]
    return [". ".join(f"{name}: {value}" for name, value in forecast.facts) + ".", *rows, *forecast.notes]


def write_pilot_page(
    path: Path, title: str, answers: Sequence[Answered], forecast: Forecast, prompt: Prompt, describer: str
) -> None:
    """Write one HTML file that needs nothing beside it; failed and rejected descriptions come first.

    Args:
        path: where; replaced in one step.
        title: heading of the page.
        answers: what `pilot_answers` found.
        forecast: the forecast from them.
        prompt: what was asked; shown once, and with a description only where its question was another text.
        describer: who was asked.
    """
    last = [(target, attempts[-1]) for target, attempts in answers]
    counts = Counter[str](row.status for _, row in last)
    page = html_template(Path(__file__).with_name("pilot.html.jinja")).generate(
        title=title,
        facts=[("Describer", describer), ("Prompt", prompt.name), *forecast.facts],
        table=forecast.table,
        notes=forecast.notes,
        prompt=prompt,
        states=[(status, word, counts[status]) for status, word in _STATES.items() if counts[status]],
        words=_STATES,
        bars=histogram(len(row.text.split()) for _, row in last if row.text),
        answers=sorted(last, key=lambda one: list(_STATES).index(one[1].status)),
        # made while the page is written, so that the memory holds one at a time
        thumbnail=lambda target: thumbnail_uri(target.reference, _THUMBNAIL_PX) if target.reference else "",
    )
    write_page(path, page)


def histogram(lengths: Iterable[int]) -> list[tuple[int, int, int]]:
    """Return lengths in words as (first, last, count) of at most 24 bars of equal width, empty ones included."""
    found = np.array(list(lengths), int)
    if not len(found):
        return []
    low = int(found.min())
    step = -(-(int(found.max()) + 1 - low) // _NUM_BARS)
    counts = np.bincount((found - low) // step).tolist()
    return [(low + i * step, low + (i + 1) * step - 1, count) for i, count in enumerate(counts)]
