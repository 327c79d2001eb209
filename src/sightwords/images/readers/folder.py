"""Images in class folders: names, sizes and times of change, folder by folder, as columns."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sightwords.errors import DataError
from sightwords.images.keys import NUM_THREADS
from sightwords.images.readers import IMAGE_SUFFIXES, SPLIT_NAMES, Listing
from sightwords.images.references import NO_STAT, ImageReferences, name_column


class Folder(NamedTuple):
    """The n image files of one folder, sorted by name, and their (bytes, mtime_ns), int64, shape (n, 2), or NO_STAT."""

    path: str
    names: list[str]
    stats: np.ndarray


def list_folder(root: Path, split: str | None) -> dict[str, Listing]:
    """List the images below `root`: where `split` is None, by split folder if there are any, else as one split.

    Raises:
        DataError: two folders name the same split, or there is no image.
    """
    found: dict[str, Path] = {}
    for child in sorted(root.iterdir()) if split is None else ():
        name = SPLIT_NAMES.get(child.name.lower())
        if name and child.is_dir() and found.setdefault(name, child) != child:
            raise DataError(f"{root} has two folders for the split {name!r}: {found[name].name} and {child.name}.")
    listed = {name: _list_classes(top, root) for name, top in (found or {split or "train": root}).items()}
    if not any(listed.values()):
        raise DataError(
            f"No image found below {root}. Expected train/CLASS/*.jpg and val/CLASS/*.jpg "
            f"(or CLASS/*.jpg with --train and --val); endings: {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return listed


def _list_classes(top: Path, root: Path) -> Listing:
    """List the images below `top`; the class is the first folder below it, none for images in `top` itself."""
    folders = walk(str(top))
    stats = np.concatenate([np.empty((0, 2), np.int64), *(folder.stats for folder in folders)])
    names = name_column([name for folder in folders for name in folder.names])
    folder = np.repeat(np.arange(len(folders), dtype=np.int32), [len(folder.names) for folder in folders])
    paths, titles = [f"{folder.path}/" for folder in folders], [_relative(folder.path, root) for folder in folders]
    no_offsets, whole = np.zeros(len(names), np.int64), np.full(len(names), -1, np.int64)
    ids = [_relative(folder.path, top).partition("/")[0] for folder in folders]
    codes = {class_id: i for i, class_id in enumerate(dict.fromkeys(filter(None, ids)))}
    own = np.array([codes.get(class_id, -1) for class_id in ids], np.int64)[folder]
    starts = np.concatenate(([0], np.cumsum(own >= 0))).astype(np.int32)
    labels = pa.ListArray.from_arrays(starts, own[own >= 0])
    return Listing(ImageReferences(paths, titles, folder, names, no_offsets, whole), stats, list(codes), labels)


def _relative(path: str, top: Path) -> str:
    """Return the way from `top` to a folder below it, its `/` included, empty for `top` itself."""
    relative = os.path.relpath(path, top)
    return "" if relative == "." else f"{relative}/"


def walk(top: str) -> list[Folder]:
    """Return every folder below `top` that holds image files, `top` included, each before those inside it.

    Links are followed; a folder that cannot be read is passed over, and so are names that begin with a dot.
    """
    own, below = _look(top)
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return own + [folder for folders in threads.map(_walk, below) for folder in folders]


def _walk(top: str) -> list[Folder]:
    own, below = _look(top)
    return own + [folder for path in below for folder in _walk(path)]


def _look(path: str) -> tuple[list[Folder], list[str]]:
    """Return what one folder holds, nothing where it has no image file, and the paths of the folders in it, sorted."""
    try:
        descriptor = os.open(path, os.O_RDONLY)  # files are looked up faster from an open folder than by path
    except OSError:
        return [], []
    try:
        with os.scandir(descriptor) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        folders = {entry.name for entry in entries if _is_folder(entry)}
        images = [entry for entry in entries if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.name[0] != "."]
        files = [entry for entry in images if entry.name not in folders]
        stats = np.array([_stat(entry) for entry in files], np.int64)
    except OSError:
        return [], []
    finally:
        os.close(descriptor)
    return [Folder(path, [entry.name for entry in files], stats)] if files else [], [
        f"{path}/{name}" for name in sorted(folders)
    ]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that goes round in circles
        return False


def _stat(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere, or a file just deleted: reading it will tell why
        return NO_STAT
    return status.st_size, status.st_mtime_ns
