"""A pilot: what its stored answers tell about the whole, and a page to look at them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path

from PIL import Image

from sightwords.artifacts.description_set import Description, DescriptionSet, Prompt
from sightwords.data.decode import decode_image
from sightwords.errors import UnreadableImageError
from sightwords.stages.describe.cost.extrapolate import PilotAnswer, measure_pace
from sightwords.stages.describe.cost.forecast import Forecast, make_forecast
from sightwords.stages.describe.cost.prices import Price
from sightwords.stages.describe.pilot.page import Entry, write_page
from sightwords.stages.describe.target import Target, Targets, Wanted

_CHUNK = 400
_ROW_BYTES = 240  # key twice over (64 hex digits), numbers, and SQLite's own, beside the texts


def forecast_pilot(
    store: DescriptionSet, wanted: Wanted, targets: Targets, num_total: int, num_left: int, price: Price | None
) -> Forecast:
    """Return what the stored answers to a pilot's questions tell of the whole.

    Args:
        store: the set.
        wanted: what was asked, and since when.
        targets: what the pilot asked about.
        num_total: descriptions of the whole.
        num_left: descriptions that remain.
        price: the model's price.

    Raises:
        ModelError: there is no answer.
    """
    answers: list[PilotAnswer] = []
    arrivals: list[tuple[float, float | None]] = []
    for _, attempts in answered(store, (wanted.prompt, wanted.describer), targets):
        answers.append(_added_up(attempts))
        if attempts[-1].created_at >= wanted.since:
            arrivals.append((attempts[-1].created_at - wanted.since, attempts[-1].seconds))
    pace = measure_pace(arrivals, max(time for time, _ in arrivals)) if arrivals else None
    return make_forecast(answers, pace, num_total, num_left, price)


def write_pilot_page(
    path: Path,
    forecast: Forecast,
    store: DescriptionSet,
    rows: tuple[int, int],
    targets: Targets,
    prompt: Prompt,
    describer: str,
) -> None:
    """Write the page that shows a pilot's images with their descriptions, and the forecast."""
    facts = [("Describer", describer), ("Prompt", prompt.name), *forecast.facts()]
    entries = _entries(store, rows, targets, prompt)
    write_page(path, f"Pilot of {store.path.name}", facts, entries, forecast.table(), forecast.notes(), prompt.template)


def answered(
    store: DescriptionSet, rows: tuple[int, int], targets: Targets
) -> Iterator[tuple[Target, list[Description]]]:
    """Yield each target with the attempts at one of its descriptions, where there are any."""
    waiting = iter(targets)
    while chunk := list(islice(waiting, _CHUNK)):
        by_key = {targets.image_keys(target.key)[0]: target for target in chunk}
        found = store.rows(*rows, list(by_key))
        for (key, _), attempts in groupby(found, key=lambda row: (row.key, row.sample)):
            yield by_key[key], list(attempts)


def _added_up(attempts: list[Description]) -> PilotAnswer:
    def total(values: list[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    return PilotAnswer(
        attempts[-1].key,
        attempts[-1].status,
        len(attempts),
        total([row.num_prompt_tokens for row in attempts]),
        total([row.num_text_tokens for row in attempts]),
        sum(row.seconds or 0.0 for row in attempts),
        sum(_ROW_BYTES + len(f"{row.text}{row.raw_text or ''}".encode()) for row in attempts),
    )


def _entries(store: DescriptionSet, rows: tuple[int, int], targets: Targets, prompt: Prompt) -> Iterator[Entry]:
    for target, attempts in answered(store, rows, targets):
        last = attempts[-1]
        yield Entry(
            target.name,
            target.class_name,
            _picture(target),
            prompt.text(target.class_name),
            last.text,
            last.raw_text,
            last.status,
            last.reason,
            last.agreement,
            last.num_prompt_tokens,
            last.num_text_tokens,
        )


def _picture(target: Target) -> Image.Image | None:
    if target.member is None:
        return None
    try:
        return decode_image(target.member.read(), target.name)
    except (OSError, UnreadableImageError):
        return None
