"""The table of labels that `label` writes and `train --labels` reads: a row for each image, joined by its key."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from sightwords.errors import DataError
from sightwords.images.dataset import Split
from sightwords.labels.pseudo_labels import MAX_CLASSES, LabelTargets

Source = Literal["given", "corrected", "pseudo-label", "person", "none"]


@dataclass(frozen=True)
class LabelRow:
    """An image in the table; the fields are its columns.

    Attributes:
        image: its name in the source.
        label: id of the most probable class; empty where the image is of none.
        label_name: the class's readable name.
        probability: that the label is right, 0 to 1.
        source: `given` as it was, `corrected` from another one, `pseudo-label` where there was none, by a `person`, or
            `none`.
        given: the label that was there.
        suggest: place among the images that a person should label next, from 1; 0 for all others.
        probabilities: of the most probable classes, a JSON object {id: probability}.
        split: train, val ...
        key: SHA-256 of the image's bytes, which joins it.
    """

    image: str
    label: str
    label_name: str
    probability: float
    source: Source
    given: str
    suggest: int
    probabilities: str
    split: str
    key: str


@dataclass(frozen=True)
class LabelTable:
    """Class probabilities of images, by key or, where a table has no keys, by name; N images are asked for.

    Attributes:
        path: where it was read from.
        by_key: whether images are joined by key.
        rows: {class id: probability} of each image, empty for one of no class.
    """

    path: Path
    by_key: bool
    rows: dict[str, dict[str, float]]

    @property
    def class_ids(self) -> list[str]:
        """Ids of all classes that have a probability, in the order in which they come."""
        return list(dict.fromkeys(one for row in self.rows.values() for one in row))

    @classmethod
    def read(cls, path: Path) -> LabelTable:
        """Read a CSV, TSV or Parquet table with `key` or `image`, and `label`, `probabilities` or both.

        Raises:
            DataError: it cannot be read, lacks a column, or has a probability that is none.
        """
        rows = read_rows(path)
        name = "key" if rows and "key" in rows[0] else "image"
        if rows and not ({"label", "probabilities"} & rows[0].keys() and name in rows[0]):
            raise DataError(
                f"{path} has the columns {', '.join(rows[0])}; it needs key or image, and label or probabilities, as "
                "`sightwords label` writes them."
            )
        return cls(path, name == "key", {str(row[name]): _probabilities(path, row) for row in rows})

    def labels(self, images: Split, class_ids: list[str]) -> np.ndarray:
        """Return the most probable class of each image, int64, (N,), -1 for none.

        Raises:
            DataError: the table has none of the images.
        """
        places = {class_id: place for place, class_id in enumerate(class_ids)}
        found = self._of(images, class_ids)
        return np.array([places[max(row, key=row.__getitem__)] if row else -1 for row in found], np.int64)

    def targets(self, images: Split, class_ids: list[str]) -> LabelTargets:
        """Return the class probabilities of each image.

        Raises:
            DataError: the table has none of the images.
        """
        places = {class_id: place for place, class_id in enumerate(class_ids)}
        num_kept = min(MAX_CLASSES, len(class_ids))
        classes = np.tile(np.arange(num_kept, dtype=np.int32), (len(images), 1))
        probabilities = np.zeros(classes.shape, np.float32)
        for index, row in enumerate(self._of(images, class_ids)):
            best = sorted(row.items(), key=lambda item: -item[1])[:num_kept]
            total = sum(probability for _, probability in best)
            own = [places[class_id] for class_id, _ in best]
            rest = islice((place for place in range(len(class_ids)) if place not in own), num_kept - len(own))
            classes[index] = [*own, *rest]
            probabilities[index, : len(own)] = [probability / total for _, probability in best]
        return LabelTargets(classes, probabilities, len(class_ids), 0.0)

    def _of(self, images: Split, class_ids: list[str]) -> list[dict[str, float]]:
        """Return {class id: probability} of each image; one that the table lacks keeps its label."""
        names = images.keys() if self.by_key else [images.reference(i).name for i in range(len(images))]
        if not self.rows.keys() & set(names):
            raise DataError(
                f"{self.path} has none of the {len(images)} training images. Was it made from them? Images are joined "
                f"by {'key' if self.by_key else 'name: their path below the source'}."
            )
        own = ({class_ids[label]: 1.0} if label >= 0 else {} for label in images.first_labels().tolist())
        return [self.rows.get(name, kept) for name, kept in zip(names, own, strict=True)]


def read_rows(path: Path) -> list[Mapping[str, Any]]:
    """Return the rows of a .csv, .tsv or .parquet table, in order; raise DataError where it cannot be read."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".parquet"):
        raise DataError(f"{path} is not a table of labels. Name a .csv, .tsv or .parquet file of `sightwords label`.")
    try:
        if suffix == ".parquet":
            return list(pq.read_table(path).to_pylist())
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ","))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} is not a readable table: {error}") from None


def _probabilities(path: Path, row: Mapping[str, Any]) -> dict[str, float]:
    """Return {class id: probability} of a row, those above 0."""
    text, label = row.get("probabilities"), row.get("label")
    try:
        if label in (None, "") and "label" in row:
            return {}
        found = (
            {str(class_id): float(value) for class_id, value in json.loads(text).items()} if text else {str(label): 1.0}
        )
        if all(0 <= value <= 1 for value in found.values()) and any(found.values()):
            return {class_id: value for class_id, value in found.items() if value}
    except (ValueError, AttributeError, TypeError):
        pass
    raise DataError(f"{path} has the probabilities {text!r}; a JSON object {{class id: from 0 to 1}} is expected.")
