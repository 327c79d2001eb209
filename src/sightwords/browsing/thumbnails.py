"""Thumbnails for the page: made on demand by the one decoder, the last ones kept in memory."""

from __future__ import annotations

import io
from bisect import bisect_left
from functools import lru_cache

from sightwords.errors import UnreadableImageError
from sightwords.images.dataset import Dataset
from sightwords.images.decode import thumbnail
from sightwords.images.keys import image_key

SMALL_PX, LARGE_PX = 400, 1600  # longest sides
MEDIA_TYPE = "image/webp"
_LOSSLESS_PX = 128  # up to this side: there is little to save, and every pixel is seen
_NUM_KEPT = 500  # about 20 MB, and never above 200; a visitor's browser keeps what it has seen anyway


class Thumbnails:
    """Thumbnails of images by their keys, as WebP files; it may be used by several threads.

    Args:
        dataset: the user's images; None where none were named.
    """

    def __init__(self, dataset: Dataset | None) -> None:
        self._splits = list(dataset.splits.values()) if dataset else []
        self._made = lru_cache(_NUM_KEPT)(self._make)

    def read(self, key: str, side: int) -> bytes:
        """Return a thumbnail whose longer side has at most `side` pixels, as WebP.

        Raises:
            UnreadableImageError: there is no such image, it was changed meanwhile, or it is damaged.
        """
        return self._made(key, side)

    def _make(self, key: str, side: int) -> bytes:
        image = thumbnail(self._image_bytes(key), key, side)
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", lossless=max(image.size) <= _LOSSLESS_PX, quality=82, method=2)
        return buffer.getvalue()

    def _image_bytes(self, key: str) -> bytes:
        for images in self._splits:
            index = bisect_left(range(len(images)), key, key=images.key)
            if index < len(images) and images.key(index) == key:
                reference = images.reference(index)
                break
        else:
            raise UnreadableImageError(key, "it is not among the images that were named")
        try:
            data = reference.read()
        except OSError as error:
            raise UnreadableImageError(reference.name, error.strerror or str(error)) from None
        if image_key(data) != key:
            raise UnreadableImageError(reference.name, "changed since it was listed")
        return data
