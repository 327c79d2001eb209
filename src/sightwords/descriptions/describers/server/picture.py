"""What of an image a server is sent: the file itself where the server would see the same picture, else a JPEG."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import NamedTuple

from PIL import Image

from sightwords.descriptions.describers.base import decode_within

JPEG_QUALITY = 92
MAX_SENT_BYTES = 8 * 2**20  # a file of few pixels and more bytes than this is mostly metadata: encoded anew
_ORIENTATION = 0x0112

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOS, _DHT, _DQT, _APP1 = 0xDA, 0xC4, 0xDB, 0xE1
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, all with Huffman coding
_EXPECTED = {*_FRAMES, _DHT, _DQT, _SOS, 0xDD, *range(0xE0, 0xF0), 0xFE}  # also restart interval, APPn, comment


class Picture(NamedTuple):
    """A picture as it is sent; kept in two parts, so that its many bytes are copied once, into the request.

    Attributes:
        head: begin of a data URL, up to the comma.
        base64: the file in base64.
    """

    head: bytes
    base64: bytes


def picture_of(data: bytes, name: str, max_side: int) -> Picture:
    """Return what is sent of an image file.

    Args:
        data: an image file's bytes.
        name: its name, for the error message.
        max_side: longest side that may be sent, in pixels.

    Raises:
        UnreadableImageError: the bytes cannot be turned into pixels.
    """
    if is_whole_jpeg(data, max_side):
        return _picture(data, "jpeg")
    image = decode_within(data, name, max_side)  # also where the file is sent: a damaged one must be found here
    kind = sendable_format(data, max_side)
    if kind is not None:
        return _picture(data, kind)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, comment=b"")
    return _picture(buffer.getvalue(), "jpeg")


def sendable_format(data: bytes, max_side: int) -> str | None:
    """Return `jpeg` or `png` where the file can be sent as it is: upright, opaque, 8 bits, within `max_side` pixels.

    Args:
        data: bytes of a readable image file; only its header is looked at.
        max_side: largest side, in pixels.
    """
    with Image.open(io.BytesIO(data)) as image:
        plain = image.mode in ("RGB", "L") and not image.has_transparency_data
        upright = image.getexif().get(_ORIENTATION, 1) in (0, 1)
        still = not getattr(image, "is_animated", False)
        fits = max(image.size) <= max_side and len(data) <= MAX_SENT_BYTES
        known = image.format in ("JPEG", "PNG")
        return str(image.format).lower() if known and plain and upright and still and fits else None


def is_whole_jpeg(data: bytes, max_side: int) -> bool:
    """Return whether a file is certainly a whole JPEG that can be sent as it is, without decoding its pixels.

    The segments before the first scan must be complete, and the file must end with the end marker. Inside of a scan
    these two bytes cannot occur (0xFF is followed by a stuffed zero there), so a file that was cut short ends
    otherwise. About the bits in between a decoder is no stricter: it takes any. Broken tables are left for the server
    to refuse. False means that only decoding can tell.

    Args:
        data: the file's bytes.
        max_side: largest side, in pixels.
    """
    if not data.startswith(_SOI) or not data.endswith(_EOI) or len(data) > MAX_SENT_BYTES:
        return False
    seen: set[int] = set()
    position, frame = 2, b""
    while _SOS not in seen:
        if data[position] != 0xFF:
            return False
        marker = data[position + 1]
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker not in _EXPECTED or not position + 4 <= end < len(data) - 2:
            return False
        if marker in _FRAMES:
            if not seen.isdisjoint(_FRAMES):
                return False
            frame = data[position + 4 : end]
        seen.add(marker)
        position = end
    return {_DHT, _DQT} <= seen and _is_plain(frame, max_side) and (_APP1 not in seen or _is_upright(data, max_side))


def _is_plain(frame: bytes, max_side: int) -> bool:
    """Return whether a frame header says 8 bits, gray or three colors, and a size from 1 to `max_side`."""
    if len(frame) < 6:
        return False
    bits, height, width = frame[0], int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    whole = len(frame) == 6 + 3 * frame[5]
    return bits == 8 and frame[5] in (1, 3) and whole and min(height, width) >= 1 and max(height, width) <= max_side


def _is_upright(data: bytes, max_side: int) -> bool:
    try:
        return sendable_format(data, max_side) == "jpeg"
    except Exception:  # Pillow raises many kinds for odd metadata; decoding tells whether the picture is readable
        return False


def _picture(data: bytes, kind: str) -> Picture:
    return Picture(f"data:image/{kind};base64,".encode(), b64encode(data))
