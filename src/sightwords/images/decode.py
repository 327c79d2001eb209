"""The one place that turns bytes into pixels, for describing and for training alike."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sightwords.errors import UnreadableImageError
from sightwords.images.references import ImageReference

MAX_BYTES = 200 * 2**20
MAX_PIXELS = 178_956_970  # Pillow's own bound against decompression bombs, made an error here instead of a warning
DECODER_VERSION = 2  # raise it when the pixels of any image would change
MAX_SIDE = 256  # of a thumbnail, in pixels

_JPEG_REDUCTIONS = (8, 4, 2, 1)
_JPEG_END = b"\xff\xd9"  # its end-of-image marker: a file that lacks it was cut short

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels of the whole upright image; right and bottom are not part of it."""


class EncodedImage:
    """An image file whose header was read; its pixels are decoded when they are asked for.

    Args:
        data: the file's bytes.
        name: the image's name for the error message.

    Attributes:
        size: width and height of the upright image in pixels.
        reductions: the factors by which the image can be shrunk while it is decoded, largest first.

    Raises:
        UnreadableImageError: the bytes are no image, are cut short, or exceed `MAX_BYTES` or `MAX_PIXELS`.
    """

    def __init__(self, data: bytes, name: str = "image") -> None:
        if len(data) > MAX_BYTES:
            raise UnreadableImageError(name, f"{len(data):,} bytes; at most {MAX_BYTES:,} are allowed")
        self._data, self._name = data, name
        self._opened: Image.Image | None = None
        self._decoded: Image.Image | None = None
        self._is_plain = False
        self.reductions: tuple[int, ...] = (1,)
        with _explained(name):
            image = Image.open(io.BytesIO(data))
            self.size = width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableImageError(name, f"{width} x {height} pixels; at most {MAX_PIXELS:,} are allowed")
            if image.format != "JPEG":  # where the orientation stands cannot be known before all is read
                self._decoded = _upright_rgb(image)
                self.size = self._decoded.size
                return
            self._opened = image
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            if orientation >= 5:
                self.size = height, width
            # of a turned image, a reduction that does not divide both sides would move the edges
            self.reductions = tuple(
                by for by in _JPEG_REDUCTIONS if orientation == 1 or (width % by == 0 and height % by == 0)
            )
            self._is_plain = orientation == 1 and image.mode == "RGB" and data.endswith(_JPEG_END)

    def decode(self, reduction: int = 1) -> Image.Image:
        """Return the image, upright, RGB, 8 bits a channel.

        Args:
            reduction: one of `reductions`; sides are divided by it, fractions rounded up. A JPEG file's blocks are
                then made at the smaller size, which is faster and averages as a box filter does.
        """
        if self._decoded is not None:
            return self._decoded
        with _explained(self._name):
            # an opened file can be decoded but once
            image, self._opened = self._opened or Image.open(io.BytesIO(self._data)), None
            if reduction > 1:
                image.draft(image.mode, tuple(max(1, side // reduction) for side in image.size))  # type: ignore[arg-type]
            return _upright_rgb(image)

    def crop(self, box: Box, reduction: int = 1) -> np.ndarray:
        """Return a part of the image, uint8, shape (height / reduction, width / reduction, 3).

        Args:
            box: the part; its edges are multiples of `reduction`, or the image's own.
            reduction: as for `decode`.
        """
        left, top, right, bottom = box
        if reduction == 1 and self._is_plain:
            pixels = _plain_jpeg(self._data)
            if pixels is not None:
                return pixels[top:bottom, left:right]
        reduced = (left // reduction, top // reduction, -(-right // reduction), -(-bottom // reduction))
        return np.asarray(self.decode(reduction).crop(reduced))


def open_image(reference: ImageReference) -> EncodedImage:
    """Return an image whose header was read.

    Raises:
        UnreadableImageError: its bytes cannot be had, or are no whole image.
    """
    try:
        data = reference.read()
    except OSError as error:
        raise UnreadableImageError(reference.name, error.strerror or str(error)) from None
    return EncodedImage(data, reference.name)


def decode_image(data: bytes, name: str = "image") -> Image.Image:
    """Return an image file's pixels, upright, RGB, 8 bits a channel; arguments and errors are those of `EncodedImage`.

    EXIF orientation is applied; transparency is composited on white; palette, gray, CMYK and 16-bit images become
    RGB; of an animation the first frame is taken.
    """
    return EncodedImage(data, name).decode()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what Pillow raises into an error that names the image."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow's, about harmless EXIF and palette oddities
            yield
    except UnidentifiedImageError:
        raise UnreadableImageError(name, "not an image, or of a format that Pillow does not know") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(name, str(error)) from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise UnreadableImageError(name, f"damaged or cut short ({error})") from None


def _plain_jpeg(data: bytes) -> np.ndarray | None:
    """Return the pixels of an upright JPEG file in color, or None where Pillow must say what is wrong with it.

    torchvision calls the same library as Pillow and gives the same pixels, in less time.
    """
    import torch  # here, since describing needs neither
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
    except RuntimeError:
        return None
    return np.asarray(pixels.permute(1, 2, 0).numpy())


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_gray(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(background, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _deep_gray(image: Image.Image) -> Image.Image:
    """Scale gray of 16 bits (or more) to 8: the upper byte; values that fit 8 bits already are kept."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F" and values.max(initial=0) <= 1:
        values = values * 255  # float images are commonly in [0, 1]
    elif image.mode.startswith("I;16") or values.max(initial=0) > 255:
        values = values / 257
    gray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return Image.fromarray(gray, "L").convert("RGB")


def thumbnail(data: bytes, name: str, max_side: int = MAX_SIDE) -> Image.Image:
    """Return an upright RGB image, its longest side at most `max_side` pixels; arguments and errors as `EncodedImage`.

    A large JPEG file is decoded at a smaller size, twice the wanted one at least, so that the filter decides what is
    seen.
    """
    encoded = EncodedImage(data, name)
    longest = max(encoded.size)
    reduction = next((factor for factor in encoded.reductions if longest // factor >= 2 * max_side), 1)
    image = encoded.decode(reduction)
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return image


def jpeg(image: Image.Image) -> bytes:
    """Return an RGB image as a small JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85, optimize=True)
    return buffer.getvalue()


def thumbnail_uri(reference: ImageReference, max_side: int = MAX_SIDE) -> str:
    """Return an image, its longest side at most `max_side` pixels, as the `data:` address of a JPEG, or ""."""
    try:
        small = jpeg(thumbnail(reference.read(), reference.name, max_side))
    except (OSError, UnreadableImageError):
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(small).decode('ascii')}"
