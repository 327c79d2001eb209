"""What an audit writes: a table of all images and a page of the most suspicious ones."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from sightwords.files import atomic_path
from sightwords.images.dataset import Dataset, Split, locate
from sightwords.images.decode import thumbnail_uri
from sightwords.images.gallery import Card, write_gallery
from sightwords.labels.suspicion import Suspicion

NOTES = (
    "The most suspicious labels come first: suspicion is the mean of the ranks that the classifiers give, 1 at most. "
    "No classifier has seen the image that it scores, nor another one with the same text.",
    "Text similarity: cosine of the description with the mean description of its label's class, less that with the "
    "best other class. Text probability and image probability: what linear classifiers of the text vectors and of the "
    "image features give the label.",
)


@dataclass(frozen=True)
class Row:
    """One image of the table; its fields are the columns.

    Attributes:
        rank: 1 for the most suspicious label.
        suspicion: 0 to 1.
        is_suspect: 1 where the label is probably wrong.
        split: `train` or `val`.
        image: the image's name as a user knows it.
        label: class id.
        label_name: readable name of that class.
        suggested: id of the class that fits better, empty where the label fits best.
        suggested_name: readable name of that class.
        text_similarity: cosine of the text with the label's class, less that with the best other, -2 to 2.
        text_probability: of the label, by the text, 0 to 1.
        image_probability: of the label, by the image features of a run, 0 to 1; None without a run.
        description: the image's first one.
        key: SHA-256 of the image's bytes.
        position: place among all images of the audit.
    """

    rank: int
    suspicion: float
    is_suspect: int
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
    position: int


def audit_rows(
    splits: Mapping[str, Split], labels: np.ndarray, found: Suspicion, texts: Sequence[str], dataset: Dataset
) -> list[Row]:
    """Return a row for every image, the most suspicious first.

    Args:
        splits: the N images.
        labels: classes, (N,).
        found: what the classifiers say.
        texts: description of each image.
        dataset: knows ids and names of the classes.
    """
    ids, names = [*dataset.class_ids, ""], [*dataset.class_names, ""]  # -1, no suggestion, is the last one
    rows = []
    for number, i in enumerate(found.order().tolist()):
        split, images, index = locate(splits, i)
        label, suggested = int(labels[i]), int(found.suggested[i])
        rows.append(
            Row(
                rank=number + 1,
                suspicion=round(float(found.rank[i]), 5),
                is_suspect=int(found.is_suspect[i]),
                split=split,
                image=images.reference(index).name,
                label=ids[label],
                label_name=names[label],
                suggested=ids[suggested],
                suggested_name=names[suggested],
                text_similarity=round(float(found.similarity.margin[i]), 4),
                text_probability=round(float(found.text.own[i]), 4),
                image_probability=None if found.image is None else round(float(found.image.own[i]), 4),
                description=texts[i],
                key=images.key(index),
                position=i,
            )
        )
    return rows


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write the table."""
    columns = [field.name for field in fields(Row) if field.name != "position"]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([getattr(row, name) for name in columns] for row in rows)


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    rows: Sequence[Row],
    splits: Mapping[str, Split],
    notes: Sequence[str] = (),
) -> None:
    """Write the page that shows the images of `rows`, whose positions are those in `splits`."""
    write_gallery(path, title, list(facts.items()), [_card(row, splits) for row in rows], (*NOTES, *notes))


def _card(row: Row, splits: Mapping[str, Split]) -> Card:
    _, images, index = locate(splits, row.position)
    shown = [
        ("suspicion", f"{row.suspicion:.3f}"),
        ("text similarity", f"{row.text_similarity:+.2f}".replace("-", "\u2212")),
        ("text probability", f"{row.text_probability:.1%}"),
    ]
    if row.image_probability is not None:
        shown.append(("image probability", f"{row.image_probability:.1%}"))
    image = thumbnail_uri(images.reference(index))
    return Card(image, str(row.rank), row.label_name, row.suggested_name, row.description, shown, row.image)
