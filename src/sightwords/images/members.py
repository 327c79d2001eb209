"""Pictures of named files, folders, tables and shards, in their order, without keys or labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sightwords.errors import DataError, UnreadableImageError
from sightwords.images.decode import EncodedPicture
from sightwords.images.member import Member
from sightwords.images.readers import TABLE_SUFFIXES, list_source
from sightwords.images.readers.listing import IMAGE_SUFFIXES
from sightwords.images.references import Places
from sightwords.images.transforms import EvalTransform
from sightwords.images.walk import walk


@dataclass(frozen=True)
class PictureBatch:
    """Pictures of a batch, and those of it that could not be read.

    Attributes:
        images: those that were read, uint8, shape (B, 3, S, S).
        names: of all, in their order.
        reasons: why each could not be read, empty for the B that were.
    """

    images: Tensor
    names: list[str]
    reasons: list[str]


def find_members(sources: Iterable[str]) -> list[Member]:
    """Return the images that are named: files, all image files below folders, the rows of tables and tar shards.

    A file is taken whatever its name ends with; whether it is an image shows when it is read.

    Raises:
        DataError: a folder holds no image, or a table or shard cannot be read.
    """
    return [member for source in sources for member in _members(source)]


def _members(source: str) -> Iterator[Member]:
    path = Path(source)
    if path.suffix.lower() in (*TABLE_SUFFIXES, ".tar"):
        for listing in {id(found): found for found in list_source(source, None).values()}.values():
            yield from (listing.places.member(index) for index in range(len(listing)))
        return
    if not path.is_dir():
        yield Member(source, source)
        return
    folders = walk(source, IMAGE_SUFFIXES)
    if not folders:
        raise DataError(f"No image found below {source}. Endings: {', '.join(IMAGE_SUFFIXES)}.")
    for folder in folders:
        for name in folder.names.decode("utf-8", "surrogateescape").split("\0")[:-1]:
            yield Member(f"{folder.path}/{name}", f"{folder.path}/{name}")


def picture_batches(
    members: list[Member], transform: EvalTransform, batch_size: int, workers: int = 0
) -> Iterator[PictureBatch]:
    """Yield pictures in their order; one that cannot be read is named, and the others go on.

    Args:
        members: where their bytes lie.
        transform: from a picture to the network's input.
        batch_size: pictures read for a batch.
        workers: loader processes; 0 loads in this one.
    """
    yield from DataLoader(
        _Pictures(Places.of(members), transform),
        batch_size=batch_size,
        num_workers=min(workers, -(-len(members) // batch_size)),
        collate_fn=_collate,
        generator=torch.Generator(),
    )


class _Pictures(Dataset[Any]):
    def __init__(self, places: Places, transform: EvalTransform) -> None:
        self._places, self._transform = places, transform

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[str, Tensor | None, str]:
        """Return name, pixels and reason; the pixels are None, or the reason is empty."""
        member = self._places.member(index)
        try:
            return member.name, self._transform(EncodedPicture(member.read(), member.name), 0, ""), ""
        except OSError as error:
            return member.name, None, error.strerror or str(error)
        except UnreadableImageError as error:
            return member.name, None, error.reason


def _collate(rows: list[tuple[str, Tensor | None, str]]) -> PictureBatch:
    read = [pixels for _, pixels, _ in rows if pixels is not None]
    images = torch.stack(read) if read else torch.empty(0, dtype=torch.uint8)
    return PictureBatch(images, [name for name, _, _ in rows], [reason for _, _, reason in rows])
