"""Look at a tree of image files: names, sizes and times of change, folder by folder, as columns."""

from __future__ import annotations

import os
from array import array
from typing import NamedTuple

from sightwords.images.helpers import Helpers, num_processors

_SHARE = 16  # folders looked at by one call of a helper


_FOLDERS_EACH = 64  # fewer are looked at sooner than a helper starts


_MAX_PROCESSES = 8


class Folder(NamedTuple):
    """The image files of one folder, sorted by name.

    Attributes:
        path: the folder.
        names: the files' names in UTF-8, each ended by a zero byte.
        sizes: size of each file in bytes, int64; -1 where it cannot be looked at.
        times: mtime_ns of each file, int64; -1 where it cannot be looked at.
    """

    path: str
    names: bytes
    sizes: bytes
    times: bytes


class Share(NamedTuple):
    """Folders to look at, and the endings of image files in lower case (".jpg")."""

    paths: list[str]
    suffixes: tuple[str, ...]


def walk(top: str, suffixes: tuple[str, ...]) -> list[Folder]:
    """Return every folder below `top` that holds image files, `top` included, each before those inside it.

    Links are followed; a folder that cannot be read is passed over, and so are names that begin with a dot.

    Args:
        top: the folder to begin with.
        suffixes: the endings of image files, in lower case: ".jpg".
    """
    own, below = _look(top, suffixes)
    shares = [Share(below[start : start + _SHARE], suffixes) for start in range(0, len(below), _SHARE)]
    with Helpers(min(num_processors(), _MAX_PROCESSES, len(below) // _FOLDERS_EACH)) as helpers:
        return own + [folder for folders in helpers.map(walk_share, shares) for folder in folders]


def walk_share(share: Share) -> list[Folder]:
    """Return every folder of the share, and below, that holds image files."""
    found: list[Folder] = []
    waiting = share.paths[::-1]
    while waiting:
        own, below = _look(waiting.pop(), share.suffixes)
        found += own
        waiting += reversed(below)
    return found


def _look(path: str, suffixes: tuple[str, ...]) -> tuple[list[Folder], list[str]]:
    """Return what one folder holds, nothing where it has no image file, and the paths of the folders in it, sorted."""
    try:
        descriptor = os.open(path, os.O_RDONLY)  # files are looked up faster from an open folder than by path
    except OSError:
        return [], []
    try:
        with os.scandir(descriptor) as found:
            entries = {entry.name: entry for entry in found}
        folders = _folders(entries)
        images = [name for name in sorted(entries) if name.endswith(suffixes) or name.lower().endswith(suffixes)]
        names = [name for name in images if name[0] != "." and name not in folders]
        sizes, times = _stamps([entries[name] for name in names])
    except OSError:
        return [], []
    finally:
        os.close(descriptor)
    text = "\0".join([*names, ""]).encode("utf-8", "surrogateescape")
    below = [f"{path}/{name}" for name in sorted(folders)]
    return [Folder(path, text, sizes.tobytes(), times.tobytes())] if names else [], below


def _folders(entries: dict[str, os.DirEntry[str]]) -> set[str]:
    try:
        return {name for name, entry in entries.items() if entry.is_dir()}
    except OSError:  # a link that goes round in circles: it is no folder, the others may be
        return {name for name, entry in entries.items() if _is_folder(entry)}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _stamps(entries: list[os.DirEntry[str]]) -> tuple[array[int], array[int]]:
    """Return sizes and times of change, int64."""
    try:
        found = list(map(os.DirEntry.stat, entries))
    except OSError:  # a link that leads nowhere, or a file just deleted: reading it will tell why
        stamps = [_stamp(entry) for entry in entries]
        return array("q", [size for size, _ in stamps]), array("q", [time for _, time in stamps])
    return array("q", [status.st_size for status in found]), array("q", [status.st_mtime_ns for status in found])


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
