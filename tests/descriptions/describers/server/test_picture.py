from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from sightwords.descriptions.describers.server import picture
from sightwords.descriptions.describers.server.picture import Picture, is_whole_jpeg, picture_of, sendable_format
from sightwords.errors import UnreadableImageError
from support.ask_server import encoded
from support.images import draw


def noise(side: int = 96, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def test_files_are_sent_as_they_are_only_where_the_server_would_see_the_same():
    image = draw("disc", 1, 48)
    frames = {"save_all": True, "append_images": [draw("bar", 2, 48)]}
    assert sendable_format(encoded(image, "JPEG"), 48) == "jpeg"
    assert sendable_format(encoded(image, "JPEG", exif=exif(1)), 48) == "jpeg"
    assert sendable_format(encoded(image.convert("L"), "PNG"), 48) == "png"
    assert sendable_format(encoded(image, "PNG"), 47) is None
    assert sendable_format(encoded(image, "JPEG", exif=exif(6)), 48) is None
    assert sendable_format(encoded(image.convert("RGBA"), "PNG"), 48) is None
    assert sendable_format(encoded(image.convert("CMYK"), "JPEG"), 48) is None
    assert sendable_format(encoded(image.convert("P"), "PNG", transparency=0), 48) is None
    assert sendable_format(encoded(image, "PNG", **frames), 48) is None
    assert sendable_format(encoded(image, "WEBP"), 48) is None


def test_a_picture_is_the_file_or_a_jpeg_of_it():
    jpeg, png = encoded(noise(), "JPEG"), encoded(noise(), "PNG")
    assert picture_of(jpeg, "a", 96) == Picture(b"data:image/jpeg;base64,", base64.b64encode(jpeg))
    assert picture_of(png, "a", 96) == Picture(b"data:image/png;base64,", base64.b64encode(png))
    head, sent = picture_of(png, "a", 95)
    assert head == b"data:image/jpeg;base64,"
    assert Image.open(io.BytesIO(base64.b64decode(sent))).size == (95, 95)


def test_a_whole_jpeg_is_not_decoded(monkeypatch):
    monkeypatch.setattr(picture, "decode_within", lambda *_: pytest.fail("decoded"))
    picture_of(encoded(noise(), "JPEG"), "a", 96)
    picture_of(encoded(noise(), "JPEG", exif=exif(1)), "a", 96)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 95, "subsampling": 0}, {"restart_marker_blocks": 2}]
)
def test_a_jpeg_of_any_kind_is_seen_whole_and_wherever_it_is_cut_it_is_not(options):
    data = encoded(noise(), "JPEG", **options)
    assert is_whole_jpeg(data, 96)
    assert not any(is_whole_jpeg(data[:end], 96) for end in range(len(data)))


@pytest.mark.parametrize("end", [0.2, 0.5, 0.9, 0.999])
def test_a_jpeg_that_was_cut_short_is_refused(end):
    data = encoded(noise(), "JPEG")
    with pytest.raises(UnreadableImageError):
        picture_of(data[: int(end * len(data))], "cut.jpg", 96)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xda\x00\x02\xff\xd9",
        encoded(noise(), "PNG"),
        encoded(noise(97), "JPEG"),
        encoded(noise().convert("CMYK"), "JPEG"),
        encoded(noise(), "JPEG", exif=exif(6)),
        encoded(noise(), "JPEG") + b"trailing",
        encoded(noise(), "JPEG").replace(b"\xff\xc0", b"\xff\xc9"),  # arithmetic coding
        encoded(noise(), "JPEG").replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),  # 12 bits
        encoded(noise(), "JPEG").replace(b"\xff\xc4", b"\xff\xe9"),  # no Huffman tables
        encoded(noise(), "JPEG").replace(b"\xff\xdb", b"\xff\xe9"),  # no quantization tables
        encoded(noise(), "JPEG").replace(b"\xff\xc0", b"\xff\xe9"),  # no frame
        encoded(noise(), "JPEG").replace(b"\xff\xc0", b"\xff\xc0\x00\x02\xff\xc0"),  # two frames
    ],
)
def test_what_is_unusual_is_left_to_the_decoder(data):
    assert not is_whole_jpeg(data, 96)


def test_a_picture_with_much_metadata_is_encoded_anew(monkeypatch):
    monkeypatch.setattr(picture, "MAX_SENT_BYTES", 60_000)
    data = encoded(noise(), "JPEG", comment=b"x" * 60_000)
    assert len(picture_of(data, "a", 96).base64) < 60_000


def test_the_sent_picture_is_the_decoded_one():
    """An upright JPEG that is sent unseen shows what our decoder would have shown."""
    from sightwords.images.decode import decode_image

    data = encoded(noise(), "JPEG", progressive=True)
    sent = base64.b64decode(picture_of(data, "a", 96).base64)
    assert np.array_equal(decode_image(sent, "a"), decode_image(data, "a"))
