"""What an audit writes: a table of all images, and a page with the most suspicious ones."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from sightwords.files import atomic_path
from sightwords.images.decode import thumbnail_uri
from sightwords.images.gallery import Card, write_gallery
from sightwords.images.references import ImageReference
from sightwords.labels.config import AuditConfig

_NOTES = (
    "The most suspicious labels come first. Suspicion is the mean of the image's ranks by the figures below it, 1 at "
    "most. Each figure comes from a classifier that has seen neither the image nor another one with the same text.",
    "Text similarity: cosine of the description with the mean description of its label's class, minus that with the "
    "best other class. Text probability and image probability: the label's probability by linear classifiers on the "
    "text vectors and on the image features.",
)


@dataclass(frozen=True)
class AuditRow:
    """An image in the table; the fields are its columns.

    Attributes:
        suspicion: from 0 to 1; rank 1 has the highest.
        label: class id; `suggested` is that of the class that fits better, empty where the label fits best.
        text_similarity: a difference of cosines, from -2 to 2.
        text_probability: of the label, from 0 to 1.
        image_probability: of the label, from 0 to 1; None without a run.
    """

    rank: int
    suspicion: float
    is_suspect: bool
    split: str
    image: str
    label: str
    label_name: str
    suggested: str
    suggested_name: str
    text_similarity: float
    text_probability: float
    image_probability: float | None
    description: str
    key: str


def write_csv(path: Path, rows: Iterable[AuditRow]) -> None:
    """Write the table in one step."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(AuditRow))
        writer.writerows(map(astuple, rows))


def write_page(
    config: AuditConfig, facts: dict[str, str], shown: Sequence[tuple[AuditRow, ImageReference]], notes: Sequence[str]
) -> None:
    """Write `audit.html` with some of the rows and their images."""
    sources = {"Descriptions": config.descriptions, "Embedding set": config.embeddings, "Image features": config.run}
    facts = facts | {name: str(path) for name, path in sources.items() if path}
    title, cards = f"Audit of {config.images or config.train}", [_card(row, reference) for row, reference in shown]
    write_gallery(config.out / "audit.html", title, list(facts.items()), cards, (*_NOTES, *notes))


def _card(row: AuditRow, reference: ImageReference) -> Card:
    facts = [
        ("suspicion", f"{row.suspicion:.3f}"),
        ("text similarity", f"{row.text_similarity:+.2f}".replace("-", "\u2212")),
        ("text probability", f"{row.text_probability:.1%}"),
    ]
    if row.image_probability is not None:
        facts.append(("image probability", f"{row.image_probability:.1%}"))
    image = thumbnail_uri(reference)
    return Card(image, str(row.rank), row.label_name, row.suggested_name, row.description, facts=facts, name=row.image)
