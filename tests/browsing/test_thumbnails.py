"""Thumbnails: the right image by its key, small, and kept."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from sightwords.browsing.thumbnails import Thumbnails
from sightwords.errors import UnreadableImageError
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.images.keys import image_key


@pytest.fixture
def dataset(images):
    return open_dataset(ImagesConfig(str(images)), show=False)


@pytest.fixture
def thumbnails(dataset):
    return Thumbnails(dataset)


def opened(data):
    return Image.open(io.BytesIO(data))


def test_every_image_is_found_by_its_key_and_looks_as_it_is(images, thumbnails):
    for path in sorted(images.rglob("*.png")):
        made = opened(thumbnails.read(image_key(path.read_bytes()), 400))
        assert made.format == "WEBP"
        assert list(made.convert("RGB").getdata()) == list(Image.open(path).convert("RGB").getdata())


def test_a_large_photograph_becomes_small_and_upright(images):
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.new("RGB", (3000, 1500), "red").save(images / "train" / "disc" / "big.jpg", exif=exif)
    dataset = open_dataset(ImagesConfig(str(images)), show=False)
    key = image_key((images / "train" / "disc" / "big.jpg").read_bytes())
    data = Thumbnails(dataset).read(key, 400)
    assert opened(data).size == (200, 400)
    assert len(data) < 20_000


def test_a_thumbnail_is_made_once(images, thumbnails):
    path = next(images.rglob("*.png"))
    key = image_key(path.read_bytes())
    first = thumbnails.read(key, 400)
    path.unlink()
    assert thumbnails.read(key, 400) == first
    with pytest.raises(UnreadableImageError, match=path.name):
        thumbnails.read(key, 1600)


def test_a_missing_or_changed_image_is_an_error(images, thumbnails):
    with pytest.raises(UnreadableImageError, match="not among the images"):
        thumbnails.read("0" * 64, 400)
    path = next(images.rglob("*.png"))
    key = image_key(path.read_bytes())
    path.write_bytes(b"something else")
    with pytest.raises(UnreadableImageError, match="changed"):
        thumbnails.read(key, 400)
    with pytest.raises(UnreadableImageError, match="not among the images"):
        Thumbnails(None).read("1" * 64, 400)
