"""The one place that turns bytes into pixels, for describing and for training alike."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sightwords.errors import UnreadableImageError

MAX_BYTES = 200 * 2**20
MAX_PIXELS = 178_956_970  # Pillow's own bound against decompression bombs, made an error here instead of a warning
DECODER_VERSION = 1  # raise it when the pixels of any image would change

_DEEP_GREY = {"I;16", "I;16L", "I;16B", "I;16N", "I"}


def decode_image(data: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return an image file's picture, upright, RGB, 8 bits a channel.

    EXIF orientation is applied; transparency is composited on white; palette, grey, CMYK and 16-bit images become
    RGB; of an animation the first frame is taken.

    Args:
        data: the file's bytes.
        name: the image's name for the error message.
        max_pixels: upper bound of width x height.

    Raises:
        UnreadableImageError: the bytes are no image, are cut short, or exceed the limits.
    """
    if len(data) > MAX_BYTES:
        raise UnreadableImageError(name, f"{len(data):,} bytes; at most {MAX_BYTES:,} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings about harmless EXIF and palette oddities
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            if width * height > max_pixels:
                raise UnreadableImageError(name, f"{width} x {height} pixels; at most {max_pixels:,} are allowed")
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UnreadableImageError(name, "not an image, or of a format that Pillow does not know") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(name, str(error)) from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise UnreadableImageError(name, f"damaged or cut short ({error})") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _DEEP_GREY or image.mode == "F":
        return _deep_grey(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(background, image).convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """Scale grey of 16 bits (or more) to 8: the upper byte; values that fit 8 bits already are kept."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F" and values.max(initial=0) <= 1:
        values = values * 255  # float pictures are commonly in [0, 1]
    elif image.mode.startswith("I;16") or values.max(initial=0) > 255:
        values = values / 257
    grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return Image.fromarray(grey, "L").convert("RGB")
