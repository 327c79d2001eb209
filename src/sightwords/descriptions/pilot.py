"""A sample of descriptions as one HTML file: pictures, texts and figures, for a look before the whole is paid for."""

from __future__ import annotations

import base64
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from PIL import Image

from sightwords.descriptions.forecast import Forecast, PilotAnswer, make_forecast, measure_pace
from sightwords.descriptions.prices import Price
from sightwords.descriptions.questions import Target, Targets, Wanted
from sightwords.descriptions.schema import Description, Prompt, Status
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import UnreadableImageError
from sightwords.files import atomic_path
from sightwords.images.decode import decode_image, jpeg

if TYPE_CHECKING:
    from jinja2 import Environment, Template


MAX_SIDE = 320
_ORDER: tuple[Status, ...] = ("failed", "rejected", "ok")
_WORDS = {"failed": "failed", "rejected": "rejected", "ok": "usable"}
_CHUNK = 1 << 16  # characters copied at once
_NUM_BARS = 24
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Entry:
    """One description on the page.

    Attributes:
        name: the image's name as the user knows it.
        class_name: readable name of its class, empty where it has none.
        picture: the picture, or the bytes of a JPEG of at most 320 pixels; None where none was shown.
        prompt: what was asked.
        text: the description, cleaned; empty where there is none.
        raw_text: the answer as it came, where cleaning changed it.
        status: `ok`, `rejected` or `failed`.
        reason: why it is not `ok`, or what to know of it though it is.
        agreement: how well image and text agree, a cosine, where it was scored.
        num_prompt_tokens: tokens sent, where known.
        num_text_tokens: tokens that came back, where known.
    """

    name: str
    class_name: str
    picture: Image.Image | bytes | None
    prompt: str
    text: str
    raw_text: str | None = None
    status: Status = "ok"
    reason: str = ""
    agreement: float | None = None
    num_prompt_tokens: int | None = None
    num_text_tokens: int | None = None


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram: `count` descriptions of `first` to `last` words."""

    first: int
    last: int
    count: int


def write_page(
    path: Path,
    title: str,
    facts: Sequence[tuple[str, str]],
    entries: Iterable[Entry],
    table: Sequence[Sequence[str]] = (),
    notes: Sequence[str] = (),
    prompt: str | None = None,
) -> None:
    """Write the page, one file that needs nothing beside it; what failed or was rejected comes first.

    Entries are taken one by one and kept on disk, so that thousands of pictures do not need the memory.

    Args:
        path: where; replaced in one step.
        title: heading of the page.
        facts: (name, value) pairs under the heading.
        entries: what to show.
        table: rows of a table above the pictures, the first one being its heading.
        notes: sentences below the table.
        prompt: what was asked, shown once; only other questions are repeated with their entries. None takes the first
            entry's.
    """
    environment = _environment()
    card, page = environment.get_template("pilot_card.html.jinja"), environment.get_template("pilot_page.html.jinja")
    with ExitStack() as stack:
        piles = {status: stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for status in _ORDER}
        counts, lengths = Counter[Status](), Counter[int]()
        for entry in entries:
            prompt = entry.prompt if prompt is None else prompt
            piles[entry.status].write(_card(card, entry, prompt))
            counts[entry.status] += 1
            lengths[len(entry.text.split())] += bool(entry.text)
        states = [(status, _WORDS[status], counts[status]) for status in _ORDER if counts[status]]
        told: dict[str, object] = {"title": title, "facts": facts, "table": table, "notes": notes, "prompt": prompt}
        told |= {"states": states, "num_entries": counts.total(), "bars": histogram(lengths)}
        told |= {"cards": _chunks(piles.values())}
        temporary = stack.enter_context(atomic_path(path))
        # names of files need not be UTF-8: what cannot be written becomes a question mark
        with temporary.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.writelines(page.generate(told))


def histogram(lengths: Counter[int]) -> list[Bar]:
    """Return the lengths of descriptions in words as bars of equal width, empty ones between them included."""
    found = [length for length, count in lengths.items() if count]
    if not found:
        return []
    low, high = min(found), max(found)
    step = next((s for s in _STEPS if high // s - low // s < _NUM_BARS), high)
    bars = Counter[int]()
    for length, count in lengths.items():
        bars[length // step] += count
    return [Bar(i * step, (i + 1) * step - 1, bars[i]) for i in range(low // step, high // step + 1)]


def thumbnail(picture: Image.Image | bytes) -> bytes:
    """Return the JPEG that the page shows; bytes are taken as they are."""
    if isinstance(picture, bytes):
        return picture
    small = picture.convert("RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return jpeg(small)


def _card(template: Template, entry: Entry, prompt: str) -> str:
    data = "" if entry.picture is None else base64.b64encode(thumbnail(entry.picture)).decode("ascii")
    other = entry.prompt if entry.prompt != prompt else ""
    rendered = template.render(entry=entry, data=data, word=_WORDS[entry.status], other_prompt=other)
    return rendered.encode("utf-8", "replace").decode("utf-8")


def _chunks(piles: Iterable[IO[str]]) -> Iterator[str]:
    for pile in piles:
        pile.seek(0)
        while chunk := pile.read(_CHUNK):
            yield chunk


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("sightwords.descriptions", "")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


_CHUNK_PILOT = 400
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
    while chunk := list(islice(waiting, _CHUNK_PILOT)):
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
