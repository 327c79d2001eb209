"""Small pictures for pages that need no other file."""

from __future__ import annotations

import base64
import io

from PIL import Image

from sightwords.data.decode import decode_image
from sightwords.data.key import Member
from sightwords.errors import UnreadableImageError

MAX_SIDE = 256
_QUALITY = 85


def thumbnail_uri(member: Member, max_side: int = MAX_SIDE) -> str:
    """Return an image as the `data:` address of a small JPEG, empty where it cannot be read.

    Args:
        member: where its bytes lie.
        max_side: longest side in pixels; a smaller image keeps its size.
    """
    try:
        picture = decode_image(member.read(), member.name)
    except (OSError, UnreadableImageError):
        return ""
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
