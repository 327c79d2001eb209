"""A pilot: a sample of descriptions with a forecast for the whole, as one HTML page and as lines for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from sightwords.descriptions.cost import Forecast
from sightwords.descriptions.questions import Target, Targets
from sightwords.descriptions.schema import Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.files import atomic_path
from sightwords.images.decode import thumbnail_uri

_CHUNK = 400  # images that are looked up in the set at once
_THUMBNAIL_PX = 320
_NUM_BARS = 24
_STATES = {"failed": "failed", "rejected": "rejected", "ok": "usable"}  # in the order of the page

Answered = tuple[Target, list[Description]]


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram: `count` descriptions of `first` to `last` words."""

    first: int
    last: int
    count: int


def pilot_answers(store: DescriptionSet, rows: tuple[int, int], targets: Targets) -> list[Answered]:
    """Return each target with the attempts at one of its descriptions, where there are any.

    Args:
        store: the set.
        rows: row ids of prompt and describer.
        targets: what the pilot asked about.
    """
    found: list[Answered] = []
    waiting = iter(targets)
    while chunk := list(islice(waiting, _CHUNK)):
        by_key = {targets.image_keys(target.key)[0]: target for target in chunk}
        stored = groupby(store.rows(*rows, list(by_key)), key=lambda row: (row.key, row.sample))
        found += [(by_key[key], list(attempts)) for (key, _), attempts in stored]
    return found


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
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("pilot.html.jinja").read_text(encoding="utf-8"))
    last = [(target, attempts[-1]) for target, attempts in answers]
    counts = Counter[str](row.status for _, row in last)
    page = template.generate(
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
    # names of files need not be UTF-8: what cannot be written becomes a question mark
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.writelines(page)


def histogram(lengths: Iterable[int]) -> list[Bar]:
    """Return lengths in words as at most 24 bars of equal width, empty ones between them included."""
    found = np.array(list(lengths), int)
    if not len(found):
        return []
    low = int(found.min())
    step = -(-(int(found.max()) + 1 - low) // _NUM_BARS)
    counts = np.bincount((found - low) // step)
    return [Bar(low + i * step, low + (i + 1) * step - 1, int(count)) for i, count in enumerate(counts)]
