"""Where the pictures of a batch come from: files, the cache of shrunk pictures, or an earlier place in the batch."""

from __future__ import annotations

import numpy as np

from sightwords.data.augment import ArrayPicture, Picture, shrunk
from sightwords.data.decode import EncodedPicture
from sightwords.data.image_set import ImageSet
from sightwords.data.pixel_cache import CachePlan, PixelCache
from sightwords.errors import UnreadableImageError


class PictureSource:
    """Opens the pictures of an image set; every process has its own.

    Args:
        images: the images.
        cache: where pictures are kept shrunk; None decodes each anew.
        comes_again: whether an image can come several times in a batch; then it is decoded once for all of them, and
            always whole, so that it is the same picture in a process that meets it but once.
    """

    def __init__(self, images: ImageSet, cache: CachePlan | None, comes_again: bool = False) -> None:
        self._images, self._plan, self._comes_again = images, cache, comes_again
        self._cache: PixelCache | None = None
        self._decoded: dict[int, Picture] = {}

    def open(self, index: int) -> Picture:
        """Return picture `index`.

        Raises:
            UnreadableImageError: its bytes cannot be had, or are no whole image.
        """
        if self._plan is not None:
            return self._kept(index)
        if not self._comes_again:
            return self._encoded(index)
        if index not in self._decoded:
            self._decoded[index] = ArrayPicture(np.asarray(self._encoded(index).decode()))
        return self._decoded[index]

    def end_batch(self) -> None:
        """Write what the cache is to keep, and forget what was decoded."""
        self._decoded.clear()
        if self._cache is not None:
            self._cache.flush()

    def _encoded(self, index: int) -> EncodedPicture:
        member = self._images.member(index)
        try:
            data = member.read()
        except OSError as error:
            raise UnreadableImageError(member.name, error.strerror or str(error)) from None
        return EncodedPicture(data, member.name)

    def _kept(self, index: int) -> ArrayPicture:
        """Return the shrunk picture: the same whether it was there or is made now."""
        assert self._plan is not None
        if self._cache is None:  # opened in the process that reads
            self._cache = PixelCache(self._plan)
        key = self._images.key(index)
        pixels = self._cache.get(key)
        if pixels is None:
            made = shrunk(self._encoded(index), self._plan.shorter, self._plan.interpolation)
            pixels = made.permute(1, 2, 0).contiguous().numpy()
            self._cache.put(key, pixels)
        return ArrayPicture(pixels)
