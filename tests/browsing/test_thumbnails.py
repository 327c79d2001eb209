"""Pictures of the page: the right image by its key, small, and kept within a bound."""

from __future__ import annotations

import io
import os

import pytest
from PIL import Image

from sightwords.browsing import thumbnails
from sightwords.browsing.thumbnails import Pictures
from sightwords.errors import UnreadableImageError
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.images.keys import image_key


@pytest.fixture
def dataset(images):
    return open_dataset(ImagesConfig(str(images)), show=False)


@pytest.fixture
def pictures(dataset, tmp_path):
    return Pictures(dataset, tmp_path / "kept", 10**6)


def opened(data):
    return Image.open(io.BytesIO(data))


def test_every_image_is_found_by_its_key_and_looks_as_it_is(images, pictures):
    for path in sorted(images.rglob("*.png")):
        made = opened(pictures.read(image_key(path.read_bytes()), 400))
        assert made.format == "WEBP"
        assert list(made.convert("RGB").getdata()) == list(Image.open(path).convert("RGB").getdata())


def test_a_large_photograph_becomes_small_and_upright(images, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.new("RGB", (3000, 1500), "red").save(images / "train" / "disc" / "big.jpg", exif=exif)
    dataset = open_dataset(ImagesConfig(str(images)), show=False)
    key = image_key((images / "train" / "disc" / "big.jpg").read_bytes())
    data = Pictures(dataset, tmp_path / "kept", 10**6).read(key, 400)
    assert opened(data).size == (200, 400)
    assert len(data) < 20_000


def test_a_kept_picture_is_taken_from_the_disk(images, pictures):
    path = next(images.rglob("*.png"))
    key = image_key(path.read_bytes())
    first = pictures.read(key, 400)
    path.unlink()
    assert pictures.read(key, 400) == first
    with pytest.raises(UnreadableImageError, match=path.name):
        pictures.read(key, 1600)


def test_what_is_not_there_or_was_changed_or_is_no_picture_is_told(images, dataset, pictures):
    with pytest.raises(UnreadableImageError, match="not among the images"):
        pictures.read("0" * 64, 400)
    path = next(images.rglob("*.png"))
    key = image_key(path.read_bytes())
    path.write_bytes(b"something else")
    with pytest.raises(UnreadableImageError, match="changed"):
        pictures.read(key, 400)
    with pytest.raises(UnreadableImageError, match="not among the images"):
        Pictures(None, pictures._folder, 10**6).read("1" * 64, 400)


def test_kept_pictures_stay_within_the_bound_and_the_oldest_go(images, dataset, tmp_path):
    keys = [image_key(path.read_bytes()) for path in sorted(images.rglob("*.png"))]
    size = len(Pictures(dataset, tmp_path / "probe", 10**6).read(keys[0], 400))
    pictures = Pictures(dataset, tmp_path / "kept", 8 * size)
    for age, key in enumerate(keys):
        pictures.read(key, 400)
        for path in (tmp_path / "kept").rglob(f"{key}*"):
            os.utime(path, (1000 + age, 1000 + age))
    kept = thumbnails._files(tmp_path / "kept")
    assert sum(size for _, size, _ in kept) <= 8 * size
    assert len(kept) >= 3
    newest = {path.name.partition("-")[0] for _, _, path in kept}
    assert newest <= set(keys[-10:])
