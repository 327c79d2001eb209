"""Folders of images: train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg for one split."""

from __future__ import annotations

import os
from pathlib import Path

from sightwords.data.key import Member
from sightwords.data.sources.listing import IMAGE_SUFFIXES, SPLIT_NAMES, Listing
from sightwords.errors import DataError


def list_folder(root: Path, split: str | None) -> dict[str, list[Listing]]:
    """List the images below `root`: by split folder where there are any, else all of it as one split.

    Raises:
        DataError: two folders name the same split, or there is no image.
    """
    found: dict[str, Path] = {}
    if split is None:
        for child in sorted(root.iterdir()):
            name = SPLIT_NAMES.get(child.name.lower())
            if name and child.is_dir() and found.setdefault(name, child) != child:
                raise DataError(f"{root} has two folders for the split {name!r}: {found[name].name} and {child.name}.")
        if "train" in found and "val" not in found and "test" in found:
            found["val"] = found["test"]
    splits = {name: _list_classes(folder, root) for name, folder in (found or {split or "train": root}).items()}
    if not any(splits.values()):
        raise DataError(
            f"No image found below {root}. Expected train/CLASS/*.jpg and val/CLASS/*.jpg "
            f"(or CLASS/*.jpg with --train and --val); endings: {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return splits


def _list_classes(folder: Path, root: Path) -> list[Listing]:
    listings: list[Listing] = []
    base, top = str(root), str(folder)
    for parent, folders, names in os.walk(top, followlinks=True):
        folders.sort()
        relative = os.path.relpath(parent, top)
        labels = () if relative == "." else (relative.partition(os.sep)[0],)
        prefix = os.path.relpath(parent, base)
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith("."):  # noqa: PTH122
                shown = name if prefix == "." else f"{prefix}/{name}"
                listings.append(Listing(Member(f"{parent}/{name}", shown), labels))
    return listings
