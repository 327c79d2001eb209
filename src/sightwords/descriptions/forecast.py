"""From the answers of a pilot to the sums of all that was not asked, each with a 95% interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sightwords.descriptions.prices import Price
from sightwords.descriptions.schema import Status
from sightwords.errors import ModelError
from sightwords.progress import duration

NUM_RESAMPLES = 2000
_CHUNK = 100  # resamples at once, so that the weights of a large pilot fit into memory
_Z = NormalDist().inv_cdf(0.975)
_MIN_FOR_PACE = 10

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PilotAnswer:
    """One description of the pilot, all its attempts added up.

    Attributes:
        image: key of the image; descriptions of one image are resampled together.
        status: how the last attempt ended.
        num_requests: attempts.
        num_prompt_tokens: tokens sent, where known.
        num_text_tokens: tokens that came back, where known.
        seconds: time that the attempts took (of a batch, their share), where known.
        num_bytes: what the description takes on disk, in bytes; 0 where not known.
    """

    image: str
    status: Status
    num_requests: int = 1
    num_prompt_tokens: int | None = None
    num_text_tokens: int | None = None
    seconds: float | None = None
    num_bytes: int = 0


@dataclass(frozen=True)
class Pace:
    """How fast descriptions come.

    Attributes:
        rate: descriptions a second.
        steady: False where the start (loading a model, the first wave of requests) is in the rate.
    """

    rate: float
    steady: bool


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval, which is None where one cannot be told."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Need:
    """What a number of descriptions takes; None where the describer or the pilot does not tell.

    Attributes:
        seconds: time on the wall clock.
        num_requests: questions, further attempts included.
        num_prompt_tokens: tokens sent.
        num_text_tokens: tokens that come back.
        cost: in the currency of the prices.
        num_bytes: storage.
    """

    seconds: Estimate | None = None
    num_requests: Estimate | None = None
    num_prompt_tokens: Estimate | None = None
    num_text_tokens: Estimate | None = None
    cost: Estimate | None = None
    num_bytes: Estimate | None = None


def extrapolate(
    pilot: Sequence[PilotAnswer], pace: Pace | None, num_total: int, num_left: int, price: Price | None, seed: int
) -> tuple[Need, Need]:
    """Return what the descriptions that remain take, and what all of them take, the pilot's share as it was.

    The other images are taken to be like the pilot's, which should be drawn from all classes in proportion to their
    size. The intervals are those of the sum over the images that were not asked: a bootstrap over the pilot's images
    (all descriptions of an image together) gives the doubt about their mean, and a normal term the scatter of their
    sum. For small pilots the percentiles are widened after Hesterberg, "What Teachers Should Know About the Bootstrap",
    The American Statistician 69 (2015), section 5.3. The doubt about the pace itself (a server that others use too) is
    not in them.
    """
    names, columns = _columns(pilot, pace, price)
    places: dict[str, int] = {}
    rows = np.array([places.setdefault(answer.image, len(places)) for answer in pilot])
    sums, counts = np.zeros((len(places), len(names))), np.bincount(rows).astype(np.float64)
    np.add.at(sums, rows, columns)
    known = sums.sum(axis=0)
    sampler = _Sampler(sums, counts, seed)
    left = sampler.needs(names, num_left, np.zeros_like(known))
    return left, sampler.needs(names, max(0, num_total - len(pilot)), known)


def measure_pace(arrivals: Sequence[tuple[float, float | None]], wall_s: float) -> Pace:
    """Return how fast a describer is once it is up to speed, or its average where it never was.

    It is up to speed when answers come whose questions were put after the first answer had come: before, a model was
    loading, or the first wave of requests was on its way. The rate is taken between two ends of bursts (a batch's
    answers come together), the first of them in the first half.

    Args:
        arrivals: (when it came in seconds since the start, time that it took in seconds) of every description.
        wall_s: time of the whole pilot, in seconds.
    """
    arrivals = sorted(arrivals, key=lambda arrival: arrival[0])
    times = np.array([time for time, _ in arrivals])
    average = Pace(len(times) / max(wall_s, 1e-9), steady=False)
    if len(times) < _MIN_FOR_PACE:
        return average
    num_later = sum(time - (seconds or 0.0) >= times[0] for time, seconds in arrivals)
    if num_later < len(times) / 2:
        return average
    gaps = np.diff(times)
    half = len(times) // 2
    ends = np.flatnonzero(gaps[:half] >= gaps.mean())
    if not len(ends) or times[-1] <= times[ends[-1]]:
        return average
    first = int(ends[-1])
    return Pace((len(times) - 1 - first) / float(times[-1] - times[first]), steady=True)


def wilson(num_good: int, num_all: int) -> Estimate:
    """Return a share with Wilson's 95% score interval (Wilson, JASA 22, 1927)."""
    share, z2 = num_good / num_all, _Z * _Z
    middle = (share + z2 / (2 * num_all)) / (1 + z2 / num_all)
    half = _Z * math.sqrt(share * (1 - share) / num_all + z2 / (4 * num_all**2)) / (1 + z2 / num_all)
    low = 0.0 if num_good == 0 else max(0.0, middle - half)
    return Estimate(share, low, 1.0 if num_good == num_all else min(1.0, middle + half))


class _Sampler:
    """Resamples the pilot's images, once for all figures, so that figures of one forecast belong together."""

    def __init__(self, sums: Array, counts: Array, seed: int) -> None:
        self.mean = sums.sum(axis=0) / counts.sum()
        self.per_image = counts.mean()
        self.num_images = len(counts)
        rng = np.random.default_rng(seed)
        self.means = np.concatenate([self._resample(sums, counts, rng) for _ in range(NUM_RESAMPLES // _CHUNK)])
        residuals = sums - counts[:, None] * self.mean
        self.scatter = np.sqrt((residuals**2).sum(axis=0) / max(1, self.num_images - 1))
        self.normal = rng.standard_normal(self.means.shape)

    def needs(self, names: list[str], num_descriptions: int, known: Array) -> Need:
        """Return what `num_descriptions` take beside what is known already, (figures,)."""
        values = known + num_descriptions * self.mean
        if self.num_images < 2:
            return Need(**{name: Estimate(float(v)) for name, v in zip(names, values, strict=True)})
        noise = math.sqrt(num_descriptions / self.per_image) * self.scatter * self.normal
        draws = known + np.maximum(0, num_descriptions * self.means + noise)
        tail = _tail(self.num_images)
        lows, highs = np.quantile(draws, [tail, 1 - tail], axis=0)
        found = zip(names, values, lows, highs, strict=True)
        return Need(**{name: Estimate(float(v), float(low), float(high)) for name, v, low, high in found})

    def _resample(self, sums: Array, counts: Array, rng: np.random.Generator) -> Array:
        weights = rng.multinomial(self.num_images, np.full(self.num_images, 1 / self.num_images), size=_CHUNK)
        means: Array = (weights @ sums) / (weights @ counts)[:, None]
        return means


def _columns(pilot: Sequence[PilotAnswer], pace: Pace | None, price: Price | None) -> tuple[list[str], Array]:
    """Return the names of the figures that are known, and their values (descriptions, figures)."""
    prompts = _known((a.num_prompt_tokens, a.status) for a in pilot)
    texts = _known((a.num_text_tokens, a.status) for a in pilot)
    seconds = _wall_seconds(pilot, pace)
    columns: dict[str, Array | None] = {"num_requests": np.array([float(a.num_requests) for a in pilot])}
    columns |= {"seconds": seconds, "num_prompt_tokens": prompts, "num_text_tokens": texts}
    columns["cost"] = _costs(len(pilot), prompts, texts, seconds, price)
    num_bytes = np.array([float(a.num_bytes) for a in pilot])
    columns["num_bytes"] = num_bytes if num_bytes.any() else None
    told = {name: column for name, column in columns.items() if column is not None}
    return list(told), np.stack(list(told.values()), axis=1)


def _known(values: Iterable[tuple[float | None, Status]]) -> Array | None:
    """Return the values, 0 for failures without one; None where a usable description lacks its value."""
    pairs = list(values)
    lacking = any(value is None and status == "ok" for value, status in pairs)
    if lacking or all(value is None for value, _ in pairs):
        return None
    return np.array([float(value or 0) for value, _ in pairs])


def _wall_seconds(pilot: Sequence[PilotAnswer], pace: Pace | None) -> Array | None:
    """Return every description's share of the wall clock: its own time, scaled so that the mean is that of the pace."""
    if pace is None:
        return None
    own = _known((a.seconds, a.status) for a in pilot)
    if own is None or not own.any():
        return np.full(len(pilot), 1 / pace.rate)
    shares: Array = own / (own.mean() * pace.rate)
    return shares


def _costs(
    num: int, prompts: Array | None, texts: Array | None, seconds: Array | None, price: Price | None
) -> Array | None:
    if price is None or (price.per_hour > 0 and seconds is None):
        return None
    if price.needs_tokens and (prompts is None or texts is None):
        return None
    parts = [np.zeros(num) if part is None else part for part in (prompts, texts, seconds)]
    return np.array([price.cost(*map(float, values)) for values in zip(*parts, strict=True)])


def _tail(num_images: int) -> float:
    """Return the percentile to take at either end, for 95% by Student's t with n - 1 degrees of freedom."""
    z, free = _Z, num_images - 1
    if free <= 2:
        t = (12.706, 4.303)[free - 1]
    else:  # the expansion of Abramowitz and Stegun, 26.7.5
        t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    return NormalDist().cdf(-math.sqrt(num_images / free) * t)


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
