from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from sightwords.images import walk as walk_module
from sightwords.images.walk import walk

SUFFIXES = (".jpg", ".png")


def write(root, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def found(root) -> list[tuple[str, list[str]]]:
    """Return the folders with their files' names, and check their stamps."""
    result = []
    for folder in walk(str(root), SUFFIXES):
        names = [os.fsdecode(name) for name in folder.names.split(b"\0")[:-1]]
        stamps = zip(np.frombuffer(folder.sizes, np.int64), np.frombuffer(folder.times, np.int64), strict=True)
        for name, stamp in zip(names, stamps, strict=True):
            path = Path(folder.path, name)
            status = path.stat() if path.exists() else None
            assert tuple(stamp) == ((status.st_size, status.st_mtime_ns) if status else (-1, -1))
        result.append((os.path.relpath(folder.path, root), names))
    return result


def test_images_are_found_folder_by_folder_in_order(tmp_path):
    write(
        tmp_path, "b/2.jpg", "b/10.PNG", "b/1.JPG", "b/x.txt", "b/.hidden.jpg", "b/jpg", "a/in/deep/1.png", "a/in/0.jpg"
    )
    write(tmp_path, "top.jpg", "c/notes.txt", "b/folder.jpg/1.jpg", ".dot/1.jpg")
    assert found(tmp_path) == [
        (".", ["top.jpg"]),
        (".dot", ["1.jpg"]),
        ("a/in", ["0.jpg"]),
        ("a/in/deep", ["1.png"]),
        ("b", ["1.JPG", "10.PNG", "2.jpg"]),
        ("b/folder.jpg", ["1.jpg"]),
    ]


def test_names_are_sorted_whatever_the_order_on_disk(tmp_path):
    numbers = [f"{i * 37 % 101:03d}" for i in range(101)]
    write(tmp_path, *[f"a/{number}.jpg" for number in numbers], *[f"a/{number}/in/1.jpg" for number in numbers])
    expected = [("a", [f"{number}.jpg" for number in sorted(numbers)])]
    assert found(tmp_path) == expected + [(f"a/{number}/in", ["1.jpg"]) for number in sorted(numbers)]


def test_links_are_followed_and_those_that_lead_nowhere_are_listed(tmp_path):
    write(tmp_path, "root/a/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "root" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "a" / "0.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "root" / "a" / "2.jpg").symlink_to("2.jpg")  # round in circles
    (tmp_path / "root" / "a" / "3.jpg").symlink_to(tmp_path / "elsewhere" / "2.jpg")
    assert found(tmp_path / "root") == [("a", ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]), ("b", ["2.jpg"])]


def test_a_name_that_is_no_utf8_is_kept(tmp_path):
    write(tmp_path, "a/1.jpg")
    try:
        (tmp_path / "a" / "1.jpg").rename(tmp_path / "a" / os.fsdecode(b"\xff.jpg"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert found(tmp_path) == [("a", [os.fsdecode(b"\xff.jpg")])]


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A tree of more folders than one process looks at; their list."""
    monkeypatch.setattr(walk_module, "_FOLDERS_EACH", 10)
    monkeypatch.setattr(walk_module, "num_processors", lambda: 3)
    names = [f"{i:02d}" for i in range(40)]
    write(tmp_path, *[f"{name}/{i}.jpg" for name in names for i in range(3)], "07/in/1.jpg")
    expected = [(name, ["0.jpg", "1.jpg", "2.jpg"]) for name in names]
    expected.insert(8, ("07/in", ["1.jpg"]))
    return tmp_path, expected


def test_helpers_find_what_one_process_finds(many, monkeypatch):
    root, expected = many
    looked = walk_module._look
    monkeypatch.setattr(walk_module, "_look", lambda *a: looked(*a) if a[0] == str(root) else pytest.fail("not shared"))
    assert found(root) == expected


def test_without_helpers_the_work_is_done_here(many, monkeypatch):
    root, expected = many
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert found(root) == expected
