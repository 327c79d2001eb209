"""`sightwords import`: take over descriptions that exist already into a description set."""

from __future__ import annotations

import os
import re
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sightwords.descriptions.config import ImportConfig
from sightwords.descriptions.import_readers import SourceRow, read_source
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet, embed_command
from sightwords.errors import DataError
from sightwords.images.dataset import Dataset, Problem, open_dataset
from sightwords.images.readers import SPLIT_NAMES


@dataclass(frozen=True, slots=True)
class Image:
    """An image that descriptions may belong to.

    Attributes:
        key: its key.
        name: its name as the dataset shows it.
        file: path of its file; empty where it lies inside a table or shard.
        split: `train` or `val`.
        class_name: readable names of its classes.
    """

    key: str
    name: str
    file: str
    split: str
    class_name: str


class Matching(NamedTuple):
    """How rows were joined to images, in words, and the key of each row's image, None where there is none."""

    way: str
    keys: list[str | None]


def match_images(references: Sequence[str], images: Sequence[Image], bases: Sequence[Path]) -> Matching:
    """Join the rows of a source to images.

    Args:
        references: the image of each row as the source names it.
        images: all images.
        bases: folders that relative paths may start from.

    Raises:
        DataError: no row fits any image, or a name fits several.
    """
    ways: tuple[tuple[str, Callable[[], list[str | None]]], ...] = (
        ("key", lambda: _by_key(references, images)),
        ("path", lambda: _by_path(references, images, bases)),
        ("the end of the path", lambda: _by_tail(references, images, by_name=False)),
        ("file name", lambda: _by_tail(references, images, by_name=True)),
    )
    for way, find in ways:
        keys = find()
        if any(key is not None for key in keys):
            return Matching(way, keys)
    row = next((reference for reference in references if reference), "(no row names an image)")
    raise DataError(
        f"No description fits an image. The source names, for example, {row!r}; the images are, for example, "
        f"{images[0].name!r} with the key {images[0].key}. Give keys, paths below the images' folder or file names, "
        "or name another column with --source-column."
    )


class _Lookup:
    """Name -> image; a name that several different images bear is an error once it is asked for."""

    def __init__(self) -> None:
        self._images: dict[str, Image] = {}
        self._others: dict[str, Image] = {}

    def add(self, name: str, image: Image) -> None:
        first = self._images.setdefault(name, image)
        if first.key != image.key:
            self._others[name] = image

    def find(self, name: str) -> Image | None:
        if name in self._others:
            first, other = self._images[name], self._others[name]
            raise DataError(
                f"{name!r} is ambiguous: it fits the images {first.name} ({first.split}) and {other.name} "
                f"({other.split}). Give keys or whole paths in the source, or take one split with --split."
            )
        return self._images.get(name)


def _by_key(references: Sequence[str], images: Sequence[Image]) -> list[str | None]:
    known = {image.key for image in images}
    lower = (reference.lower() for reference in references)
    return [reference if reference in known else None for reference in lower]


def _by_path(references: Sequence[str], images: Sequence[Image], bases: Sequence[Path]) -> list[str | None]:
    files, names = _Lookup(), _Lookup()
    for image in images:
        names.add(_plain(_own_path(image.name)), image)
        names.add(_plain(image.name), image)
        if image.file:
            files.add(_plain(os.path.abspath(image.file)), image)  # noqa: PTH100 (a million times)
    starts = [os.path.abspath(base) for base in bases]  # noqa: PTH100

    def find(reference: str) -> str | None:
        path = _plain(reference)
        whole = [path] if path.startswith("/") else [_plain(f"{start}/{path}") for start in starts]
        # a file that stands where the path says goes before a name that may occur in two folders
        image = next(filter(None, map(files.find, whole)), None) or names.find(path)
        return image.key if image else None

    return [find(reference) if reference else None for reference in references]


def _by_tail(references: Sequence[str], images: Sequence[Image], by_name: bool) -> list[str | None]:
    """Join paths of another machine: without their first folders they are an image's path, or only its file's name."""
    names = _Lookup()
    for image in images:
        path = _plain(_own_path(image.name))
        if by_name or "/" in path:
            names.add(path.rpartition("/")[2] if by_name else path, image)

    def find(reference: str) -> str | None:
        head, path = "", _plain(reference)
        while path:
            image = names.find(path)
            if image:
                return None if _of_other_split(head, image) else image.key
            folder, _, path = path.partition("/")
            head = f"{head}/{folder}"
        return None

    return [find(reference) for reference in references]


def _plain(path: str) -> str:
    """Return a path in one spelling: `/` between folders, no `.` or `..`, composed characters (macOS splits them)."""
    return os.path.normpath(unicodedata.normalize("NFC", path.replace("\\", "/")))


def _own_path(name: str) -> str:
    """Return the path that a Parquet table keeps beside an image's bytes, or the name itself."""
    inside = re.search(r"\[\d+\] \((.+)\)$", name)
    return inside.group(1) if inside else name


def _of_other_split(folders: str, image: Image) -> bool:
    """Return whether folders name the split that the image is not in; test counts as val."""
    named = {SPLIT_NAMES[part] == "train" for part in folders.lower().split("/") if part in SPLIT_NAMES}
    return bool(named) and (image.split == "train") not in named


NUM_EXAMPLES = 3


@dataclass(frozen=True)
class ImportResult:
    """What an import took over, and what it left out.

    Attributes:
        out: the description set.
        way: how rows were joined to images, in words.
        num_matched: rows that belong to an image and were stored.
        num_described: images that they belong to.
        num_empty: rows left out because their text is empty.
        unmatched: of each row left out because it belongs to no image, the image as the source names it.
        undescribed: names of the images without a description from this source.
        problems: images that cannot be read.
    """

    out: Path
    way: str
    num_matched: int
    num_described: int
    num_empty: int
    unmatched: list[str]
    undescribed: list[str]
    problems: list[Problem]

    @property
    def next_command(self) -> str:
        """The command to run next."""
        return embed_command(self.out)

    def summary(self) -> str:
        """Return what was taken over and left out, as lines of text."""
        counts = f"{self.num_matched} descriptions of {self.num_described} images"
        lines = [f"Wrote {counts}, joined by {self.way}, to {self.out}"]
        left_out = {
            "rows without an image": [repr(name) for name in self.unmatched],
            "images without a description": self.undescribed,
            "unreadable images": [f"{problem.name} ({problem.reason})" for problem in self.problems],
        }
        for what, names in left_out.items():
            if names:
                lines.append(f"  {what}: {len(names)}, e.g. {', '.join(list(dict.fromkeys(names))[:NUM_EXAMPLES])}")
        if self.num_empty:
            lines.append(f"  rows with an empty text: {self.num_empty}")
        return "\n".join(lines)


def import_descriptions(config: ImportConfig) -> ImportResult:
    """Join the descriptions of `config.source` to images and store them in one transaction.

    A second import of the same source replaces its rows by equal ones.

    Raises:
        DataError: the source or the images cannot be used, or no row fits an image.
        ArtifactError: a published list does not fit the folder, or `config.out` is not a description set.
    """
    found = read_source(config)
    rows = [row for row in found if row.text]
    num_empty = len(found) - len(rows)
    if not rows:
        raise DataError(f"{config.source} has no description ({num_empty} rows have an empty text).")
    dataset = open_dataset(config, ("train", "val") if config.split == "all" else (config.split,))
    images = list(_images(dataset))
    bases = [Path(config.images)] if config.images else []
    matching = match_images([row.reference for row in rows], images, [*bases, config.source.parent, Path()])
    described = _store(config, rows, matching.keys, images)
    unmatched = [row.reference for row, key in zip(rows, matching.keys, strict=True) if key is None]
    return ImportResult(
        out=config.out,
        way=matching.way,
        num_matched=len(rows) - len(unmatched),
        num_described=len(described),
        num_empty=num_empty,
        unmatched=unmatched,
        undescribed=[image.name for image in images if image.key not in described],
        problems=list(dataset.problems),
    )


def _images(dataset: Dataset) -> Iterator[Image]:
    for split, images in dataset.splits.items():
        for i in range(len(images)):
            reference = images.reference(i)
            classes = ", ".join(dataset.class_names[label] for label in images.labels(i))
            file = reference.file if reference.size < 0 else ""
            yield Image(images.key(i), reference.name, file, split, classes)


def _store(
    config: ImportConfig, rows: Sequence[SourceRow], keys: Sequence[str | None], images: Sequence[Image]
) -> set[str]:
    """Store the rows in one transaction, so that a kill leaves the set as it was; return the keys of their images."""
    texts: dict[str, list[str]] = {}
    for row, key in zip(rows, keys, strict=True):
        if key is not None:
            texts.setdefault(key, []).append(row.text)
    now = time.time()
    with DescriptionSet(config.out, create=True) as store:
        prompt = store.add_prompt(Prompt(config.prompt, 1, ""))
        describer = store.add_describer(DescriberInfo(config.describer_name, ""))
        store.add_images((image.key, image.name, image.class_name) for image in images if image.key in texts)
        store.put(
            Description(key, prompt, describer, sample, text, created_at=now)
            for key in sorted(texts)  # so that SQLite's index grows at its end and not all over
            for sample, text in enumerate(texts[key])
        )
    return set(texts)
