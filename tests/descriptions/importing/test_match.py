"""Rows find their images, and never a neighbor's."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

import pytest

from sightwords.descriptions.import_ import Image, match_images
from sightwords.errors import DataError


def _image(name: str, split: str = "train", root: str = "/data", content: str | None = None) -> Image:
    key = hashlib.sha256((content or name).encode()).hexdigest()
    return Image(key, name, f"{root}/{name}", split, "a class")


CAT, DOG, VAL_CAT = _image("train/cat/1.jpg"), _image("train/dog/2.jpg"), _image("val/cat/3.jpg", "val")
IMAGES = [CAT, DOG, VAL_CAT]


def _match(references: list[str], images: list[Image] = IMAGES, bases: tuple[str, ...] = ("/data",)):
    found = match_images(references, images, [Path(base) for base in bases])
    return found.way, found.keys


@pytest.mark.parametrize(
    ("references", "way", "keys"),
    [
        ([DOG.key, CAT.key.upper(), "0" * 64], "key", [DOG.key, CAT.key, None]),
        # paths of another machine
        (["/home/them/set/train/cat/1.jpg", "/home/train/dog/9.jpg"], "the end of the path", [CAT.key, None]),
        (["2.jpg", "3.jpg", "4.jpg", ""], "file name", [DOG.key, VAL_CAT.key, None, None]),
        # a path that fits nothing is not joined by its file name
        (["train/cat/1.jpg", "train/cat/2.jpg"], "path", [CAT.key, None]),
    ],
)
def test_by_key_by_the_end_of_a_path_and_by_file_name(references, way, keys):
    assert _match(references) == (way, keys)


@pytest.mark.parametrize(
    "reference",
    ["train/cat/1.jpg", "./train/cat/1.jpg", "train//dog/../cat/1.jpg", "/data/train/cat/1.jpg", "train\\cat\\1.jpg"],
)
def test_by_path_in_any_spelling(reference):
    assert _match([reference, "train/cat/none.jpg"]) == ("path", [CAT.key, None])


def test_by_path_below_another_base():
    assert _match(["cat/1.jpg", "dog/2.jpg"], bases=("/data", "/data/train")) == ("path", [CAT.key, DOG.key])


def test_names_of_composed_and_split_characters_are_one():
    name = "train/é/1.jpg"
    image = _image(unicodedata.normalize("NFD", name))
    assert _match([unicodedata.normalize("NFC", name)], [image]) == ("path", [image.key])


def test_a_file_of_the_other_split_is_another_file():
    train = [_image("cat/1.jpg"), _image("cat/2.jpg")]
    with pytest.raises(DataError, match="No description fits"):
        _match(["val/cat/1.jpg", "val/cat/2.jpg"], train)
    assert _match(["x/train/cat/1.jpg", "val/cat/2.jpg"], train)[1] == [train[0].key, None]


def test_file_names_that_are_not_unique_are_refused_unless_the_images_are_equal():
    images = [_image("train/cat/1.jpg"), _image("train/dog/1.jpg"), _image("train/dog/2.jpg")]
    with pytest.raises(DataError, match=r"'1\.jpg' is ambiguous: .*train/cat/1\.jpg.*train/dog/1\.jpg"):
        _match(["2.jpg", "1.jpg"], images)
    twins = [_image("train/cat/1.jpg", content="same"), _image("train/dog/1.jpg", content="same")]
    assert _match(["1.jpg"], twins) == ("file name", [twins[0].key])


def test_names_that_two_sources_share_are_refused_unless_the_path_tells_the_file():
    images = [_image("cat/1.jpg", root="/t"), _image("cat/1.jpg", "val", root="/v", content="other")]
    with pytest.raises(DataError, match=r"ambiguous.*\(train\).*\(val\)"):
        _match(["cat/1.jpg"], images)
    assert _match(["/v/cat/1.jpg"], images) == ("path", [images[1].key])
    assert _match(["cat/1.jpg"], images, bases=("/t",)) == ("path", [images[0].key])


@pytest.mark.parametrize(
    ("reference", "way"), [("cat/1.jpg", "path"), ("1.jpg", "file name"), ("train-0.parquet[3] (cat/1.jpg)", "path")]
)
def test_images_inside_a_parquet_table_fit_by_the_path_kept_beside_them(reference, way):
    inside = Image("a" * 64, "train-0.parquet[3] (cat/1.jpg)", "", "train", "cat")
    assert _match([reference], [inside]) == (way, [inside.key])


def test_nothing_fits_shows_both_sides():
    with pytest.raises(DataError, match=r"'other/9\.png'.*'train/cat/1\.jpg'"):
        _match(["", "other/9.png"])
