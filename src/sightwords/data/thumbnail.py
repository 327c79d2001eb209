"""Small pictures, for pages and reports."""

from __future__ import annotations

import base64
import io

from PIL import Image

from sightwords.data.decode import EncodedPicture
from sightwords.data.key import Member
from sightwords.errors import UnreadableImageError

MAX_SIDE = 256
_QUALITY = 85


def thumbnail(data: bytes, name: str, max_side: int = MAX_SIDE) -> Image.Image:
    """Return an image file's picture, upright, RGB, its longer side at most `max_side` pixels.

    A large JPEG file is decoded at a smaller size, twice the wanted one at least, so that the filter decides what is
    seen.

    Args:
        data: the file's bytes.
        name: the image's name for the error message.
        max_side: in pixels; a smaller image keeps its size.

    Raises:
        UnreadableImageError: the bytes are no image, are cut short, or exceed the limits.
    """
    encoded = EncodedPicture(data, name)
    longest = max(encoded.size)
    reduction = next((factor for factor in encoded.reductions if longest // factor >= 2 * max_side), 1)
    picture = encoded.decode(reduction)
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return picture


def jpeg(picture: Image.Image) -> bytes:
    """Return an RGB picture as a small JPEG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()


def thumbnail_uri(member: Member, max_side: int = MAX_SIDE) -> str:
    """Return an image as the `data:` address of a small JPEG, empty where it cannot be read.

    Args:
        member: where its bytes lie.
        max_side: longest side in pixels; a smaller image keeps its size.
    """
    try:
        made = jpeg(thumbnail(member.read(), member.name, max_side))
    except (OSError, UnreadableImageError):
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(made).decode('ascii')}"
