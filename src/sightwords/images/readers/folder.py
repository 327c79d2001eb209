"""Look at a tree of image files: names, sizes and times of change, folder by folder, as columns."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sightwords.errors import DataError
from sightwords.images.list_array import Ragged
from sightwords.images.readers.listing import IMAGE_SUFFIXES, SPLIT_NAMES, Listing
from sightwords.images.references import Places
from sightwords.images.walk import Folder, walk


def list_folder(root: Path, split: str | None) -> dict[str, Listing]:
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
    found = found or {split or "train": root}
    listed = {folder: _list_classes(folder, root) for folder in set(found.values())}
    if not any(listed.values()):
        raise DataError(
            f"No image found below {root}. Expected train/CLASS/*.jpg and val/CLASS/*.jpg "
            f"(or CLASS/*.jpg with --train and --val); endings: {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return {name: listed[folder] for name, folder in found.items()}


def _list_classes(top: Path, root: Path) -> Listing:
    folders = walk(str(top), IMAGE_SUFFIXES)
    columns = (b"".join([folder.sizes for folder in folders]), b"".join([folder.times for folder in folders]))
    stamps = np.stack([np.frombuffer(column, np.int64) for column in columns], axis=1)
    counts = np.array([len(folder.sizes) // 8 for folder in folders], np.int64)
    paths = [f"{folder.path}/" for folder in folders]
    titles = [_title(folder, root) for folder in folders]
    places = Places.of_files(paths, titles, [folder.names for folder in folders], counts)
    class_ids, labels = _labels([_title(folder, top) for folder in folders], counts)
    return Listing(places, stamps, class_ids, labels)


def _title(folder: Folder, root: Path) -> str:
    """Return what the names of a folder's images begin with."""
    relative = os.path.relpath(folder.path, root)
    return "" if relative == "." else f"{relative}/"


def _labels(titles: list[str], counts: np.ndarray) -> tuple[list[str], Ragged]:
    """Return the class ids, which are the first folders below the top, and each image's; none at the top itself."""
    ids = [title.partition("/")[0] for title in titles]
    codes = {class_id: i for i, class_id in enumerate(dict.fromkeys(filter(None, ids)))}
    own = np.repeat(np.array([codes.get(class_id, -1) for class_id in ids], np.int64), counts)
    return list(codes), Ragged(own[own >= 0], np.concatenate(([0], np.cumsum(own >= 0))))
