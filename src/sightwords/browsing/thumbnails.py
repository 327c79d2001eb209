"""Thumbnails for the page: made on demand by the one decoder, cached on the disk within a bound."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from bisect import bisect_left
from pathlib import Path

from sightwords.errors import UnreadableImageError
from sightwords.files import atomic_path
from sightwords.images.dataset import Dataset
from sightwords.images.decode import DECODER_VERSION, thumbnail
from sightwords.images.keys import image_key

SMALL_PX, LARGE_PX = 400, 1600  # longest sides
MEDIA_TYPE = "image/webp"
_LOSSLESS_PX = 128  # up to this side: there is little to save, and every pixel is seen


class Thumbnails:
    """Thumbnails of images by their keys, as WebP files; it may be used by several threads.

    Args:
        dataset: the user's images; None where none were named.
        folder: where thumbnails are cached.
        max_bytes: maximum size of the cache; those that were looked at longest ago go.
    """

    def __init__(self, dataset: Dataset | None, folder: Path, max_bytes: int) -> None:
        self._splits = list(dataset.splits.values()) if dataset else []
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._num_bytes = sum(size for _, size, _ in _cached(folder))

    def read(self, key: str, side: int) -> bytes:
        """Return a thumbnail whose longer side has at most `side` pixels, as WebP.

        Raises:
            UnreadableImageError: there is no such image, it was changed meanwhile, or it is damaged.
        """
        path = self._folder / key[:2] / f"{key}-{side}-{DECODER_VERSION}.webp"
        try:
            data = path.read_bytes()
            os.utime(path)  # it was looked at just now
        except OSError:
            data = _webp(self._image_bytes(key), key, side)
            with contextlib.suppress(OSError):  # where it cannot be cached it is made again the next time
                self._write(path, data)
        return data

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

    def _write(self, path: Path, data: bytes) -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
        with self._lock:
            self._num_bytes += len(data)
            if self._num_bytes <= self._max_bytes:
                return
            cached = sorted(_cached(self._folder))
            self._num_bytes = sum(size for _, size, _ in cached)
            for _, size, oldest in cached:
                if self._num_bytes <= 0.9 * self._max_bytes:
                    break
                oldest.unlink(missing_ok=True)
                self._num_bytes -= size


def _webp(data: bytes, name: str, side: int) -> bytes:
    image = thumbnail(data, name, side)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=max(image.size) <= _LOSSLESS_PX, quality=82, method=2)
    return buffer.getvalue()


def _cached(folder: Path) -> list[tuple[float, int, Path]]:
    """Return (when it was last looked at, size in bytes, path) of every cached thumbnail."""
    found = []
    for path in folder.glob("??/*.webp"):
        with contextlib.suppress(OSError):  # another process removed it
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    return found
