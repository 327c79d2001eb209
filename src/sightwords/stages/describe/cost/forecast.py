"""What a pilot tells of the whole, in words: time, tokens, cost, storage and the usable share, with 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sightwords.errors import ModelError
from sightwords.progress import duration
from sightwords.stages.describe.cost.extrapolate import Estimate, Need, Pace, PilotAnswer, extrapolate, wilson
from sightwords.stages.describe.cost.prices import Price

FEW_IMAGES = 30


@dataclass(frozen=True)
class Forecast:
    """What a pilot tells of all descriptions and of those that remain.

    Attributes:
        num_images: images in the pilot.
        num_answers: descriptions in the pilot.
        num_total: descriptions of the whole, the pilot's included.
        num_left: descriptions that remain.
        total: what the whole takes, the pilot's own share as it was.
        left: what the rest takes.
        usable: share of usable descriptions, with its Wilson interval.
        pace: how fast the pilot was; None where it did not run.
        price: the model's price; None where none was given.
    """

    num_images: int
    num_answers: int
    num_total: int
    num_left: int
    total: Need
    left: Need
    usable: Estimate
    pace: Pace | None
    price: Price | None

    def table(self) -> list[tuple[str, str, str]]:
        """Return the forecast as rows (what, for those that remain, for all), the first one being the heading."""
        rows = [("", f"{self.num_left:,} that remain", f"all {self.num_total:,}")]
        for name, attribute in _SHOWN:
            left, total = getattr(self.left, attribute), getattr(self.total, attribute)
            if total is not None:
                rows.append((name, self._worded(attribute, left), self._worded(attribute, total)))
        return rows

    def notes(self) -> list[str]:
        """Return what the reader must know of how sure the figures are, a sentence each."""
        notes = []
        if self.num_images > 1:
            notes.append(
                "Each range holds the true figure in 95 of 100 such pilots, if the other images are like these."
            )
        if self.num_images < FEW_IMAGES:
            tell = "tells" if self.num_images == 1 else "tell"
            notes.append(
                f"{_images(self.num_images)} {tell} little: take the figures as a rough guess. "
                "A pilot of 100 tells more."
            )
        if self.pace is not None and not self.pace.steady:
            notes.append(
                "The time is that of a cold start (loading the model, the first requests): the pilot was over before "
                "the describer was up to speed, and the rest will mostly go faster."
            )
        if self.total.num_prompt_tokens is None:
            notes.append("The describer does not tell how many tokens it uses.")
        if self.price is None:
            notes.append("For the cost, give --prices FILE.")
        elif self.total.cost is None:
            notes.append("The cost cannot be told without the number of tokens and the time.")
        return notes

    def facts(self) -> list[tuple[str, str]]:
        """Return the pilot in (name, value) pairs."""
        samples = "" if self.num_answers == self.num_images else f", {self.num_answers:,} descriptions"
        facts = [("Pilot", _images(self.num_images) + samples), ("Usable", _percent(self.usable))]
        if self.pace is not None:
            cold = "" if self.pace.steady else " (cold start)"
            facts.append(("Rate", f"{_rate(self.pace.rate)}{cold}"))
        return facts

    def lines(self) -> list[str]:
        """Return the forecast for the terminal."""
        facts = [f"{name}: {value}" for name, value in self.facts()]
        table = self.table()
        widths = [max(len(row[i]) for row in table) for i in range(2)]
        rows = [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in table]
        return [". ".join(facts) + ".", *rows, *self.notes()]

    def _worded(self, attribute: str, estimate: Estimate) -> str:
        def word(value: float) -> str:
            if attribute == "cost":
                return (self.price or Price()).money(value)
            return {"seconds": span, "num_bytes": storage}.get(attribute, count)(value)

        told, low, high = word(estimate.value), estimate.low, estimate.high
        if low is None or high is None or word(low) == word(high):
            return told
        return f"{told} ({_range(word(low), word(high))})"


_SHOWN = (
    ("Time", "seconds"),
    ("Requests", "num_requests"),
    ("Tokens sent", "num_prompt_tokens"),
    ("Tokens received", "num_text_tokens"),
    ("Cost", "cost"),
    ("Storage", "num_bytes"),
)


def make_forecast(
    pilot: Sequence[PilotAnswer],
    pace: Pace | None,
    num_total: int,
    num_left: int,
    price: Price | None = None,
    seed: int = 0,
) -> Forecast:
    """Return what a pilot tells of the whole; `extrapolate` says how.

    Args:
        pilot: the pilot's descriptions.
        pace: how fast they came; None where they were there before.
        num_total: descriptions of the whole, the pilot's included.
        num_left: descriptions that remain.
        price: the model's price.
        seed: seed of the resampling.

    Raises:
        ModelError: the pilot is empty.
    """
    if not pilot:
        raise ModelError("The pilot got no description, so there is nothing to forecast from.")
    left, total = extrapolate(pilot, pace, num_total, num_left, price, seed)
    usable = wilson(sum(answer.status == "ok" for answer in pilot), len(pilot))
    num_images = len({answer.image for answer in pilot})
    return Forecast(num_images, len(pilot), num_total, num_left, total, left, usable, pace, price)


def span(seconds: float) -> str:
    """Return a time in words, in days from two days on."""
    return f"{seconds / 86400:,.1f} days" if seconds >= 2 * 86400 else duration(seconds)


def count(number: float) -> str:
    """Return a number in words: `12,345`, `1.23 million`."""
    return f"{number:,.0f}" if number < 1e6 else _scaled(number, (("billion", 1e9), ("million", 1e6)))


def storage(num_bytes: float) -> str:
    """Return a number of bytes in words: `12.3 MB`."""
    if num_bytes < 1e3:
        return f"{num_bytes:.0f} bytes"
    return _scaled(num_bytes, (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)))


def _scaled(number: float, units: Sequence[tuple[str, float]]) -> str:
    """Return a number with three digits that count, in the largest unit that it reaches."""
    name, unit = next((name, unit) for name, unit in units if number >= unit)
    value = number / unit
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f} {name}"


def _range(low: str, high: str) -> str:
    """Return both ends, a unit that they share told once: `4.6 to 5.7 million`."""
    number, _, unit = low.partition(" ")
    return f"{number} to {high}" if high.partition(" ")[2] == unit else f"{low} to {high}"


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number:,} images"


def _rate(rate: float) -> str:
    return f"{rate:,.1f} descriptions a second" if rate >= 1 else f"{rate * 60:,.2g} descriptions a minute"


def _percent(share: Estimate) -> str:
    parts = [f"{100 * value:.1f}%" for value in (share.value, share.low, share.high) if value is not None]
    return f"{parts[0]} ({parts[1]} to {parts[2]})" if len(parts) == 3 else parts[0]
