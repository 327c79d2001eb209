"""What a reader lists for each image, and how splits and patterns are named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sightwords.images.list_array import Ragged
from sightwords.images.member import Member
from sightwords.images.references import Places

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif", ".avif", ".jp2",
)  # fmt: skip


class Row(NamedTuple):
    """One image of a source that is read row by row.

    Attributes:
        member: where its bytes lie.
        labels: class ids as the source writes them; none where it has no label.
        reason: why its bytes cannot be had, empty where they can.
    """

    member: Member
    labels: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Listing:
    """The N images of a source's split, in columns, in the source's order.

    Attributes:
        places: where their bytes lie.
        stamps: (size, mtime_ns) of each image's file, int64, shape (N, 2); (-1, -1) where it cannot be had.
        class_ids: the class ids that come, as the source writes them.
        labels: positions in `class_ids`, none for an image without a label.
        reasons: by position why an image's bytes cannot be had, where that is known.
    """

    places: Places
    stamps: np.ndarray
    class_ids: list[str]
    labels: Ragged
    reasons: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Listing:
        """Return the columns of images listed one by one, and look at their files."""
        places = Places.of([row.member for row in rows])
        codes: dict[str, int] = {}
        labels = Ragged.of([[codes.setdefault(label, len(codes)) for label in row.labels] for row in rows])
        reasons = {i: row.reason for i, row in enumerate(rows) if row.reason}
        return cls(places, places.stamps(), list(codes), labels, reasons)

    def __len__(self) -> int:
        return len(self.places)


def split_of_name(file: Path) -> str:
    """Return the split that a file's name begins with ("validation-00000-of-00002") or its folder has, else "train"."""
    match = re.match(r"[a-z]*", file.name.lower())
    first_word = match.group() if match else ""
    return SPLIT_NAMES.get(first_word) or SPLIT_NAMES.get(file.parent.name.lower(), "train")


def split_labels(text: str) -> tuple[str, ...]:
    """Return the labels of a cell: several are separated by `|`."""
    return tuple(part.strip() for part in text.split("|") if part.strip())


def expand_pattern(pattern: str) -> list[Path]:
    """Return the existing files of a pattern with `*`, `?` and `{000..009}` or `{a,b}`, sorted."""
    paths: set[Path] = set()
    for text in _expand_braces(pattern):
        path = Path(text)
        if any(sign in text for sign in "*?["):
            root = Path(path.anchor) if path.is_absolute() else Path()
            paths.update(root.glob(str(path.relative_to(path.anchor)) if path.is_absolute() else text))
        elif path.is_file():
            paths.add(path)
    return sorted(paths)


def _expand_braces(pattern: str) -> list[str]:
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", match.group(1))
    if span:
        low, high = span.groups()
        choices = [str(i).zfill(len(low)) for i in range(int(low), int(high) + 1)]
    else:
        choices = match.group(1).split(",")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [text for choice in choices for text in _expand_braces(head + choice + tail)]
