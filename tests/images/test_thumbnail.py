from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sightwords.errors import UnreadableImageError
from sightwords.images.decode import EncodedImage, jpeg, thumbnail, thumbnail_uri
from sightwords.images.references import ImageReference
from support.images import photo


def file_of(height: int, width: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(photo(height, width, 0)).save(out, "JPEG", quality=95)
    return out.getvalue()


def test_a_large_file_is_decoded_small_and_looks_the_same(monkeypatch):
    data, seen = file_of(900, 1200), []
    decode = EncodedImage.decode
    monkeypatch.setattr(EncodedImage, "decode", lambda self, by=1: seen.append(by) or decode(self, by))
    small = thumbnail(data, "a.jpg", 100)
    assert small.size == (100, 75)
    assert seen == [4]  # 300 pixels, at least twice the 100 that are wanted
    whole = decode(EncodedImage(data), 1)
    whole.thumbnail((100, 100), Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(small, int) - np.asarray(whole, int))
    assert difference.mean() < 3


def test_a_small_picture_keeps_its_size():
    assert thumbnail(file_of(30, 40), "a.jpg", 100).size == (40, 30)
    assert Image.open(io.BytesIO(jpeg(Image.new("RGB", (8, 6))))).size == (8, 6)


def test_what_cannot_be_read_is_told_or_left_empty(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"a\.jpg"):
        thumbnail(b"no image", "a.jpg", 100)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    assert thumbnail_uri(ImageReference(str(tmp_path / "b.jpg"), "b.jpg")) == ""
    assert thumbnail_uri(ImageReference(str(tmp_path / "c.jpg"), "c.jpg")) == ""
    (tmp_path / "d.jpg").write_bytes(file_of(30, 40))
    assert thumbnail_uri(ImageReference(str(tmp_path / "d.jpg"), "d.jpg")).startswith("data:image/jpeg;base64,/9j/")
