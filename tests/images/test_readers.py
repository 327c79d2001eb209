from __future__ import annotations

import os
from pathlib import Path

import pytest

from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.images.keys import image_key
from sightwords.images.readers import READERS
from sightwords.images.readers.folder import walk


def write(root, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def found(root) -> list[tuple[str, list[str]]]:
    """Return the folders with their files' names, and check their stamps."""
    result = []
    for folder in walk(str(root)):
        for name, stat in zip(folder.names, folder.stats.tolist(), strict=True):
            path = Path(folder.path, name)
            status = path.stat() if path.exists() else None
            assert tuple(stat) == ((status.st_size, status.st_mtime_ns) if status else (-1, -1))
        result.append((os.path.relpath(folder.path, root), folder.names))
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


def test_a_reader_is_one_file_and_one_line(tmp_path, monkeypatch):
    (tmp_path / "name_list.py").write_text(
        "from sightwords.images.readers import Row\n"
        "from sightwords.images.references import ImageReference\n\n\n"
        "def read(file, image_column, label_column):\n"
        "    for line in file.read_text().splitlines():\n"
        "        name, label, split = line.split()\n"
        "        yield Row(ImageReference(str(file.parent / name), name), (label,), split)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(READERS, ".names", "name_list")
    write(tmp_path, "data/1.jpg", "data/2.jpg", "data/3.jpg")
    (tmp_path / "data" / "all.names").write_text("1.jpg b train\n2.jpg a training\n3.jpg a validation\n")
    dataset = open_dataset(ImagesConfig(str(tmp_path / "data")), show=False)
    assert dataset.class_ids == ["a", "b"]
    assert {name: sorted(images.keys()) for name, images in dataset.splits.items()} == {
        "train": sorted(image_key(b"data/%d.jpg" % number) for number in (1, 2)),
        "val": [image_key(b"data/3.jpg")],
    }
