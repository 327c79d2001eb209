"""The layouts that data sets come in. A reader lists images and reads no pixels.

Images in class folders are read by `folder.py`; every other layout by a module of its own with one function,
`read(file, image_column, label_column) -> Iterator[Row]`, and a line in `READERS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sightwords.errors import DataError
from sightwords.images.references import ImageReference, ImageReferences

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif", ".avif", ".jp2",
)  # fmt: skip


READERS = {
    ".tar": "sightwords.images.readers.shard",
    ".parquet": "sightwords.images.readers.table",
    ".csv": "sightwords.images.readers.table",
    ".tsv": "sightwords.images.readers.table",
}
"""The ending of a file, and the module that reads it."""
_BESIDE_IMAGES = (".csv", ".tsv")  # in a folder, such a table says something of the images there


class Row(NamedTuple):
    """An image of a source: where its bytes lie, or the `reason` why not, and class ids and split as it writes them."""

    reference: ImageReference
    labels: tuple[str, ...] = ()
    split: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Listing:
    """The N images of a source's split, in columns, in the source's order.

    Attributes:
        references: where their bytes lie.
        stats: (bytes, mtime_ns) of each image's file, int64, shape (N, 2); (-1, -1) where it cannot be had.
        class_ids: the class ids that come, as the source writes them.
        labels: positions in `class_ids`, list<int64>, N rows, none for an image without a label.
        reasons: by position why an image's bytes cannot be had, where that is known.
    """

    references: ImageReferences
    stats: np.ndarray
    class_ids: list[str]
    labels: pa.ListArray
    reasons: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Listing:
        """Return the columns of images listed one by one, and look at their files."""
        references = ImageReferences.of([row.reference for row in rows])
        codes: dict[str, int] = {}
        labels = [[codes.setdefault(label, len(codes)) for label in row.labels] for row in rows]
        reasons = {i: row.reason for i, row in enumerate(rows) if row.reason}
        return cls(references, references.stats(), list(codes), pa.array(labels, pa.list_(pa.int64())), reasons)

    def __len__(self) -> int:
        return len(self.references)


def list_source(
    source: str, split: str | None, image_column: str | None = None, label_column: str | None = None
) -> dict[str, Listing]:
    """Return the images of a folder, a table, or a pattern of tables or shards, by split ("train", "val").

    All of the source belongs to `split`, or it names its own splits where that is None. Columns of a table that are
    None are found by their usual names.

    Raises:
        DataError: the source does not exist or is of no known layout.
    """
    files = _files(source)
    if not files:
        from sightwords.images.readers.folder import list_folder

        return _with_test_as_val(list_folder(Path(source), split))
    rows: dict[str, list[Row]] = {}
    for file in files:
        default = split or _split_of_name(file)
        read = import_module(READERS[file.suffix.lower()]).read
        for row in read(file, image_column, label_column):
            rows.setdefault(_split(file, row.split) if row.split else default, []).append(row)
    return _with_test_as_val({name: Listing.of(own) for name, own in rows.items()})


def _with_test_as_val(listed: dict[str, Listing]) -> dict[str, Listing]:
    if {"train", "test"} <= listed.keys() and "val" not in listed:
        listed["val"] = listed["test"]  # CIFAR and others are published with train and test only
    return listed


def find_images(sources: Iterable[str]) -> list[ImageReference]:
    """Return the images that are named: files, all of folders, the rows of tables and tar shards.

    A file is taken whatever its name ends with; whether it is an image shows when it is read.

    Raises:
        DataError: a folder holds no image, or a table or shard cannot be read.
    """
    found: list[ImageReference] = []
    for source in sources:
        is_folder = Path(source).is_dir()
        if not is_folder and Path(source).suffix.lower() not in READERS:
            found.append(ImageReference(source, source))
            continue
        listed = list_source(source, "val" if is_folder else None)
        for references in {id(one): one.references for one in listed.values()}.values():
            images = [references[i] for i in range(len(references))]
            found += [replace(image, name=image.file) if image.size < 0 and is_folder else image for image in images]
    return found


def _files(source: str) -> list[Path]:
    """Return the files that a source names, each of an ending that is read; none where it is a folder of images."""
    path = Path(source)
    if path.is_dir():
        for ending in (f"*{suffix}" for suffix in READERS if suffix not in _BESIDE_IMAGES):
            if files := sorted(path.glob(ending)) or sorted(path.glob(f"*/{ending}")):
                return files
        return []
    files = [path] if path.is_file() else _expand_pattern(source)
    unknown = [file for file in files if file.suffix.lower() not in READERS]
    if unknown or not files:
        what = f"{unknown[0]} is of no known layout" if unknown else f"{source} does not exist"
        raise DataError(
            f"{what}. Allowed: a folder with train/CLASS/*.jpg and val/CLASS/*.jpg, or files that end with one of "
            f"{', '.join(READERS)}."
        )
    return files


def _split_of_name(file: Path) -> str:
    """Return the split that a file's name begins with ("validation-00000-of-00002") or its folder has, else "train"."""
    first_word, *_ = re.split(r"[^a-z]", file.name.lower())
    return SPLIT_NAMES.get(first_word) or SPLIT_NAMES.get(file.parent.name.lower(), "train")


def _split(file: Path, value: str) -> str:
    if value.lower() not in SPLIT_NAMES:
        raise DataError(f"Unknown split {value!r} in {file}. Allowed: {', '.join(sorted(SPLIT_NAMES))}.")
    return SPLIT_NAMES[value.lower()]


def split_labels(text: str) -> tuple[str, ...]:
    """Return the labels of a cell: several are separated by `|`."""
    return tuple(part.strip() for part in text.split("|") if part.strip())


def _expand_pattern(pattern: str) -> list[Path]:
    """Return the existing files of a pattern with `*`, `?` and `{000..009}` or `{a,b}`, sorted."""
    paths = [Path(text) for text in _expand_braces(pattern)]
    # without a sign of a pattern, glob gives the file itself where it exists
    found = (file for path in paths for file in Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    return sorted({file for file in found if file.is_file()})


def _expand_braces(pattern: str) -> list[str]:
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    choices = match[1].split(",")
    if span := re.fullmatch(r"(\d+)\.\.(\d+)", match[1]):
        choices = [str(i).zfill(len(span[1])) for i in range(int(span[1]), int(span[2]) + 1)]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [text for choice in choices for text in _expand_braces(head + choice + tail)]
