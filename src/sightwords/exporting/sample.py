"""The images that an export is verified with: the run's own validation images, or others that the user names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightwords.errors import DataError
from sightwords.images.loader import input_batches
from sightwords.images.readers import Listing, list_source
from sightwords.images.references import ImageReference
from sightwords.images.transforms import EvalTransform, InputSize
from sightwords.models import normalize_images
from sightwords.models.run_facts import shown_name
from sightwords.models.run_folder import NetworkInfo

_BATCH = 16


@dataclass(frozen=True)
class Sample:
    """Images to verify with.

    Attributes:
        images: normalized, float32, shape (N, 3, S, S).
        kind: "validation images of the run", "images that were named", or "seeded noise".
        source: where they are from, or why there are none.
    """

    images: Tensor
    kind: str
    source: str

    def plain(self) -> dict[str, Any]:
        """Return what they are as JSON values."""
        return {"kind": self.kind, "source": self.source, "num_images": len(self.images)}


def open_sample(info: NetworkInfo, config: Mapping[str, Any], named: str | None, num_images: int) -> Sample:
    """Return images, evenly spread over the source; noise where the run's own images are gone.

    Args:
        info: what the network takes.
        config: the run's configuration, which names its images.
        named: a source that the user named; the run's own where it is None.
        num_images: how many.

    Raises:
        DataError: the source that the user named has no readable image.
    """
    source = named or config.get("val") or config.get("images")
    try:
        listing = _listing(config, named)
        images = _read(info, listing, num_images)
    except DataError as error:
        if named is not None:
            raise
        # what is written is for all to read: no folders of this machine
        reason = str(error).replace(str(source), shown_name(str(source))).partition(". ")[0].rstrip(".")
        return Sample(_noise(info, num_images), "seeded noise", f"the run's images cannot be had: {reason}")
    return Sample(
        images, "images that were named" if named else "validation images of the run", shown_name(str(source))
    )


def _listing(config: Mapping[str, Any], named: str | None) -> Listing:
    columns = (config.get("image_column"), config.get("label_column"))
    if named is None and config.get("val") is not None:
        found = list_source(config["val"], "val", *columns)
    elif named is None and config.get("images") is None:
        raise DataError("its configuration names none")
    else:
        found = list_source(named or config["images"], None, *columns)
    if "val" not in found and named is None:
        raise DataError("there are no validation images any more")
    return found.get("val") or next(iter(found.values()))


def _read(info: NetworkInfo, listing: Listing, num_images: int) -> Tensor:
    transform = EvalTransform(InputSize(info.image_size, info.interpolation, info.crop_pct))
    wanted = min(num_images, len(listing))
    # unreadable ones fall out, and the next ones take their place
    order = sorted({round(place) for place in np.linspace(0, len(listing) - 1, wanted).tolist()})
    order += sorted(set(range(len(listing))) - set(order))
    parts: list[Tensor] = []
    for images in _batches([listing.references[index] for index in order[: wanted + _BATCH]], transform):
        parts.append(images)
        if sum(map(len, parts)) >= wanted:
            break
    if not parts:
        raise DataError("none of them can be read")
    return normalize_images(torch.cat(parts)[:wanted], info.mean, info.std)


def _batches(members: list[ImageReference], transform: EvalTransform) -> Iterator[Tensor]:
    for batch in input_batches(members, transform, _BATCH):
        if len(batch.images):
            yield batch.images


def _noise(info: NetworkInfo, num_images: int) -> Tensor:
    shape = (num_images, 3, info.image_size, info.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
