"""Pictures of the page: made on demand by the one decoder, kept on the disk within a bound."""

from __future__ import annotations

import io
import os
import threading
from bisect import bisect_left
from pathlib import Path

from sightwords.errors import UnreadableImageError
from sightwords.files import atomic_path
from sightwords.images.dataset import Dataset, Split
from sightwords.images.decode import DECODER_VERSION, thumbnail
from sightwords.images.keys import image_key
from sightwords.images.references import ImageReference

THUMBNAIL, LARGE = 400, 1600  # longest sides in pixels
MEDIA_TYPE = "image/webp"
_EXACT = 128  # pictures up to this side are kept as they are: there is little to save, and every pixel is seen


class Pictures:
    """The pictures of images by their keys, as WebP files; it may be used by several threads.

    Args:
        dataset: the user's images; None where none were named.
        folder: where made pictures are kept.
        max_bytes: room that they may take; those that were looked at longest ago go.
    """

    def __init__(self, dataset: Dataset | None, folder: Path, max_bytes: int) -> None:
        self._sets = list(dataset.splits.values()) if dataset else []
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._num_bytes = sum(size for _, size, _ in _files(folder))

    def read(self, key: str, side: int) -> bytes:
        """Return a picture whose longer side has at most `side` pixels, as WebP.

        Raises:
            UnreadableImageError: there is no such image, it was changed meanwhile, or it is damaged.
        """
        kept = self._folder / key[:2] / f"{key}-{side}-{DECODER_VERSION}.webp"
        try:
            data = kept.read_bytes()
            os.utime(kept)  # it was looked at just now
        except OSError:
            data = _encoded(self._data(key), key, side)
            self._keep(kept, data)
        return data

    def _data(self, key: str) -> bytes:
        member = self._member(key)
        if member is None:
            raise UnreadableImageError(key, "it is not among the images that were named")
        try:
            data = member.read()
        except OSError as error:
            raise UnreadableImageError(member.name, error.strerror or str(error)) from None
        if image_key(data) != key:
            raise UnreadableImageError(member.name, "changed since it was listed")
        return data

    def _member(self, key: str) -> ImageReference | None:
        for images in self._sets:
            place = bisect_left(_Keys(images), key)
            if place < len(images) and images.key(place) == key:
                return images.reference(place)
        return None

    def _keep(self, path: Path, data: bytes) -> None:
        """Keep a made picture; where that fails it is made again the next time."""
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)
        except OSError:
            return
        with self._lock:
            self._num_bytes += len(data)
            if self._num_bytes > self._max_bytes:
                self._num_bytes = _prune(self._folder, int(0.9 * self._max_bytes))


class _Keys:
    """The keys of a set in their order, for searching without a list of them all."""

    def __init__(self, images: Split) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> str:
        return self._images.key(index)


def _encoded(data: bytes, name: str, side: int) -> bytes:
    image = thumbnail(data, name, side)
    buffer = io.BytesIO()
    if max(image.size) <= _EXACT:
        image.save(buffer, "WEBP", lossless=True, method=2)
    else:
        image.save(buffer, "WEBP", quality=82, method=2)
    return buffer.getvalue()


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """Return (when it was last looked at, size in bytes, path) of every kept picture."""
    found = []
    for path in folder.glob("??/*.webp"):
        try:
            status = path.stat()
        except OSError:  # another process removed it
            continue
        found.append((status.st_mtime, status.st_size, path))
    return found


def _prune(folder: Path, max_bytes: int) -> int:
    """Remove the pictures that were looked at longest ago; return the size of those that stay."""
    files = sorted(_files(folder), key=lambda file: file[0])
    num_bytes = sum(size for _, size, _ in files)
    for _, size, path in files:
        if num_bytes <= max_bytes:
            break
        path.unlink(missing_ok=True)
        num_bytes -= size
    return num_bytes
