"""Look at a tree of image files: names, sizes and times of change, folder by folder, as columns.

Looking at a file is a system call, and a million of them keep one processor busy for seconds. So folders side by side
are shared out among processes. Each helper runs this file alone, without our package: it starts in milliseconds and,
unlike a process of `multiprocessing`, runs nothing of the user's script. Only the standard library is imported here.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from array import array
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

_FOLDERS_EACH = 64  # fewer are looked at sooner than a helper starts
_MAX_PROCESSES = 8


class Folder(NamedTuple):
    """The image files of one folder, sorted by name.

    Attributes:
        path: the folder.
        names: the files' names in UTF-8, each ended by a zero byte.
        stamps: size and mtime_ns of each file in turn, int64; -1 and -1 where it cannot be looked at.
    """

    path: str
    names: bytes
    stamps: bytes


def walk(top: str, suffixes: Collection[str]) -> list[Folder]:
    """Return every folder below `top` that holds image files, `top` included, each before those inside it.

    Links are followed; a folder that cannot be read is passed over, and so are names that begin with a dot.

    Args:
        top: the folder to begin with.
        suffixes: the endings of image files, in lower case: ".jpg".
    """
    own, below = _look(top, suffixes)
    num_processes = min(os.cpu_count() or 1, _MAX_PROCESSES, 1 + len(below) // _FOLDERS_EACH)
    shares = [below[i::num_processes] for i in range(num_processes)]
    with _helpers(shares[1:], suffixes) as helpers:
        found = {path: _walk(path, suffixes) for path in shares[0]}
        for helper, share in zip(helpers, shares[1:], strict=True):
            found |= _answer(helper) or {path: _walk(path, suffixes) for path in share}
    return own + [folder for path in below for folder in found[path]]


def _walk(top: str, suffixes: Collection[str]) -> list[Folder]:
    found: list[Folder] = []
    waiting = [top]
    while waiting:
        own, below = _look(waiting.pop(), suffixes)
        found += own
        waiting += reversed(below)
    return found


def _look(path: str, suffixes: Collection[str]) -> tuple[list[Folder], list[str]]:
    """Return what one folder holds, nothing where it has no image file, and the paths of the folders in it, sorted."""
    try:
        descriptor = os.open(path, os.O_RDONLY)  # files are looked up faster from an open folder than by path
    except OSError:
        return [], []
    try:
        with os.scandir(descriptor) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        folders = {entry.name for entry in entries if _is_folder(entry)}
        files = [entry for entry in entries if _is_image(entry.name, suffixes) and entry.name not in folders]
        stamps = array("q", [number for entry in files for number in _stamp(entry)])
    except OSError:
        return [], []
    finally:
        os.close(descriptor)
    names = "".join([f"{entry.name}\0" for entry in files]).encode("utf-8", "surrogateescape")
    below = [f"{path}/{name}" for name in sorted(folders)]
    return [Folder(path, names, stamps.tobytes())] if files else [], below


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(name: str, suffixes: Collection[str]) -> bool:
    return name[name.rfind(".") :].lower() in suffixes and name[0] != "."


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere, or a file just deleted: reading it will tell why
        return -1, -1
    return status.st_size, status.st_mtime_ns


@contextmanager
def _helpers(shares: Sequence[list[str]], suffixes: Collection[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        for share in shares:
            command, pipe = [sys.executable, "-I", "-S", __file__], subprocess.PIPE
            helpers.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL))
            _ask(helpers[-1], share, suffixes)
        yield helpers
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()


def _ask(helper: subprocess.Popen[bytes], share: list[str], suffixes: Collection[str]) -> None:
    assert helper.stdin is not None
    with suppress(OSError), helper.stdin as pipe:  # one that has died gives no answer, and its share is walked here
        pickle.dump((share, sorted(suffixes)), pipe)


def _answer(helper: subprocess.Popen[bytes]) -> dict[str, list[Folder]] | None:
    """Return what a helper found, or None where it came to nothing."""
    assert helper.stdout is not None
    with helper.stdout as pipe:
        data = pipe.read()
    if helper.wait() != 0:
        return None
    return {path: [Folder(*folder) for folder in folders] for path, folders in pickle.loads(data).items()}


def main() -> None:
    """Walk the folders that come on standard input and write what they hold to standard output."""
    share, suffixes = pickle.load(sys.stdin.buffer)
    endings = frozenset(suffixes)
    found = {path: [tuple(folder) for folder in _walk(path, endings)] for path in share}
    pickle.dump(found, sys.stdout.buffer)


if __name__ == "__main__":
    main()
