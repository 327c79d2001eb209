"""Which image a row of a source means: by key, by path or by file name, one way for the whole source.

A path that fits no image is no license to guess by the row's file name: another split may well have a file of that
name. So the ways are tried from the strictest on, and the first that fits any row is used for all.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightwords.data.sources.listing import SPLIT_NAMES
from sightwords.errors import DataError


@dataclass(frozen=True, slots=True)
class Image:
    """An image that descriptions may belong to.

    Attributes:
        key: its key.
        name: its name as the catalog shows it.
        file: path of its file; empty where it lies inside a table or shard.
        split: `train` or `val`.
        class_name: readable names of its classes.
    """

    key: str
    name: str
    file: str
    split: str
    class_name: str


@dataclass(frozen=True)
class Matching:
    """The join of a source's rows to images.

    Attributes:
        way: how they were joined, in words.
        keys: key of each row's image, None where there is none.
    """

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
        ("the end of the path", lambda: _by_tail(references, images)),
        ("file name", lambda: _by_name(references, images)),
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


def _by_tail(references: Sequence[str], images: Sequence[Image]) -> list[str | None]:
    """Join paths of another machine: without some of their first folders they are an image's name, folders and all."""
    names = _Lookup()
    for image in images:
        path = _plain(_own_path(image.name))
        if "/" in path:
            names.add(path, image)

    def find(reference: str) -> str | None:
        head, path = "", _plain(reference)
        while "/" in path:
            image = names.find(path)
            if image:
                return None if _of_other_split(head, image) else image.key
            folder, _, path = path.partition("/")
            head = f"{head}/{folder}"
        return None

    return [find(reference) for reference in references]


def _by_name(references: Sequence[str], images: Sequence[Image]) -> list[str | None]:
    names = _Lookup()
    for image in images:
        names.add(_plain(_own_path(image.name)).rpartition("/")[2], image)

    def find(reference: str) -> str | None:
        head, _, name = _plain(reference).rpartition("/")
        image = names.find(name)
        return None if image is None or _of_other_split(head, image) else image.key

    return [find(reference) if reference else None for reference in references]


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
