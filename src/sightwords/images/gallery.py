"""Images with what is to be said of them, as one HTML file that needs no other; every text is shown as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sightwords.files import html_template, write_page

TEMPLATE = Path(__file__).with_name("gallery.html.jinja")


@dataclass(frozen=True)
class Card:
    """An image on the page.

    Attributes:
        image: `data:` address of a small image, empty where there is none.
        rank: its place in the order, shown in the corner of the image.
        suggestion: another label that would fit better.
        text: what was written about it.
        facts: (name, value) pairs.
    """

    image: str
    rank: str
    label: str = ""
    suggestion: str = ""
    text: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    name: str = ""


def write_gallery(
    path: Path, title: str, facts: Sequence[tuple[str, str]], cards: Sequence[Card], notes: Sequence[str] = ()
) -> None:
    """Write the page in one step: a title, (name, value) pairs, notes on how to read it, and the cards in order."""
    write_page(path, html_template(TEMPLATE).generate(title=title, facts=facts, cards=cards, notes=notes))
