from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sightwords.errors import UnreadableImageError
from sightwords.images import decode
from sightwords.images.decode import EncodedImage, decode_image, thumbnail, thumbnail_uri
from sightwords.images.references import ImageReference
from support.images import photo


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0], upright[3, 5] = (255, 0, 0), (0, 255, 0)
    # what a camera stores so that the viewer's transformation gives the upright picture
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(np.asarray(decode_image(data)), upright)


PALETTE = Image.frombytes("P", (2, 1), b"\0\1")
PALETTE.putpalette([0, 0, 255, 0, 255, 0])
WHITE = (255, 255, 255)


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.new("RGBA", (2, 2), (255, 0, 0, 0)), {}, WHITE),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 255)), {}, (255, 0, 0)),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 128)), {}, (255, 127, 127)),
        (Image.new("LA", (2, 2), (10, 0)), {}, WHITE),
        (PALETTE, {}, (0, 0, 255)),
        (PALETTE, {"transparency": 0}, WHITE),
        (PALETTE, {"transparency": 1}, (0, 0, 255)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), {"kind": "JPEG"}, (254, 0, 0)),
        (Image.new("L", (2, 2), 77), {}, (77, 77, 77)),
        (Image.new("1", (2, 2), 1), {}, WHITE),
    ],
)
def test_every_mode_becomes_rgb_on_white(image, options, expected):
    decoded = decode_image(encoded(image, **options))
    assert decoded.mode == "RGB"
    assert decoded.getpixel((0, 0)) == pytest.approx(expected, abs=1)


def test_gray_of_16_bits_keeps_its_upper_byte():
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    gray = np.asarray(decode_image(encoded(Image.fromarray(values))))[0, :, 0]
    np.testing.assert_array_equal(gray, [0, 1, 128, 255])


def test_of_an_animation_the_first_frame_is_taken():
    first, second = (Image.new("RGB", (2, 2), color) for color in ((9, 0, 0), (0, 9, 0)))
    data = encoded(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert decode_image(data).getpixel((0, 0)) == (9, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_a_file_cut_short_is_refused(kind):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    decode_image(data)
    with pytest.raises(UnreadableImageError, match=r"bird\.jpg"):
        decode_image(data[: len(data) // 2], "bird.jpg")


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe0", b"<svg/>"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(UnreadableImageError, match="Cannot read the image x"):
        decode_image(data, "x")


@pytest.mark.parametrize(
    ("limit", "message"), [("MAX_PIXELS", "100 x 100 pixels; at most 9 "), ("MAX_BYTES", "bytes; at most 9 ")]
)
def test_limits(monkeypatch, limit, message):
    monkeypatch.setattr(decode, limit, 9)
    with pytest.raises(UnreadableImageError, match=message):
        decode_image(encoded(Image.new("L", (100, 100))))


def test_any_damage_is_our_own_error():
    random = np.random.default_rng(1)
    whole = encoded(Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)), "PNG")
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 4):
            data[place] = random.integers(0, 256)
        try:
            decode_image(bytes(data))
        except UnreadableImageError:
            refused += 1
    assert refused > 200


JPEGS = [
    {"quality": quality, "subsampling": subsampling, "progressive": progressive}
    for quality in (30, 75, 95)
    for subsampling in ("4:4:4", "4:2:2", "4:2:0")
    for progressive in (False, True)
]


@pytest.mark.parametrize("options", [*JPEGS, {"restart_marker_rows": 1}, {"keep_rgb": True}, {"optimize": True}])
def test_cutting_from_a_jpeg_file_gives_the_pixels_of_the_whole(options, monkeypatch):
    data = encoded(Image.fromarray(photo(61, 83, 0)), "JPEG", **options)
    whole = np.asarray(decode_image(data))
    monkeypatch.setattr(Image.Image, "load", None)  # what is cut is decoded the fast way, or fails here
    np.testing.assert_array_equal(EncodedImage(data).crop((5, 7, 70, 50)), whole[7:50, 5:70])


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("is_ended", [False, True])
def test_a_damaged_jpeg_file_is_treated_alike_both_ways(keep, is_ended, monkeypatch):
    data = encoded(Image.fromarray(photo(64, 64, 0)), "JPEG", quality=90)
    cut = data[: int(keep * len(data))] + (b"\xff\xd9" if is_ended else b"")

    def outcome():
        try:
            return EncodedImage(cut).crop((0, 0, 64, 64)).tolist()
        except UnreadableImageError as error:
            return str(error)

    fast = outcome()
    monkeypatch.setattr(decode, "_plain_jpeg", lambda data: None)
    assert outcome() == fast


def test_a_large_file_is_decoded_small_and_looks_the_same(monkeypatch):
    data, seen = encoded(Image.fromarray(photo(900, 1200, 0)), "JPEG", quality=95), []
    whole_decode = EncodedImage.decode
    monkeypatch.setattr(EncodedImage, "decode", lambda self, by=1: seen.append(by) or whole_decode(self, by))
    small = thumbnail(data, "a.jpg", 100)
    assert small.size == (100, 75)
    assert seen == [4]  # 300 pixels, at least twice the 100 that are wanted
    whole = whole_decode(EncodedImage(data))
    whole.thumbnail((100, 100), Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(small, int) - np.asarray(whole, int))
    assert difference.mean() < 3


def test_a_thumbnail_of_what_cannot_be_read_is_refused_or_empty(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"a\.jpg"):
        thumbnail(b"no image", "a.jpg", 100)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    assert thumbnail_uri(ImageReference(str(tmp_path / "b.jpg"), "b.jpg")) == ""
    assert thumbnail_uri(ImageReference(str(tmp_path / "c.jpg"), "c.jpg")) == ""
    (tmp_path / "d.jpg").write_bytes(encoded(Image.fromarray(photo(30, 40, 0)), "JPEG"))
    assert thumbnail_uri(ImageReference(str(tmp_path / "d.jpg"), "d.jpg")).startswith("data:image/jpeg;base64,/9j/")
