"""What a reader lists for each image, and how splits and patterns are named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sightwords.data.key import Member

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
IMAGE_SUFFIXES = {
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif", ".avif", ".jp2",
}  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """One image of a source.

    Attributes:
        member: where its bytes lie.
        labels: class ids as the source writes them; none where it has no label.
        reason: why its bytes cannot be had, empty where they can.
    """

    member: Member
    labels: tuple[str, ...] = ()
    reason: str = ""


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
