"""A sample of descriptions as one HTML file: pictures, texts and figures, for a look before the whole is paid for."""

from __future__ import annotations

import base64
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from PIL import Image

from sightwords.artifacts.description import Status
from sightwords.data.thumbnail import jpeg
from sightwords.files import atomic_path

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
    card, page = environment.get_template("card.html.jinja"), environment.get_template("page.html.jinja")
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

    loader = PackageLoader("sightwords.stages.describe.pilot", "")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
