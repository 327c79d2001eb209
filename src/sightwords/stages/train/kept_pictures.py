"""Which pictures a training keeps on disk, and at what size."""

from __future__ import annotations

import math
from pathlib import Path

from sightwords.backbones import InputSpec
from sightwords.data.augment import InputSize
from sightwords.data.catalog import Catalog
from sightwords.data.pixel_cache import CachePlan, plan_cache
from sightwords.stages.train.config import TrainConfig

# shorter side in sides of the network's input: the usual random crop still has its pixels
SHRUNK = 1.5


def kept_pictures(config: TrainConfig, catalog: Catalog, spec: InputSpec, split: str) -> CachePlan | None:
    """Return where the pictures of a split are kept, and how small; None where --cache-gb is 0.

    Those to evaluate are kept at the size to which evaluation resizes, so that the network is given the very pixels
    that it is given without the cache.

    Args:
        config: says where the images are, and how many gigabytes there are for all splits.
        catalog: the images of all splits.
        spec: what the network takes.
        split: `train`, or one to evaluate.
    """
    if not config.cache_gb:
        return None
    places = [str(Path(place).absolute()) for place in (config.images, config.train, config.val) if place]
    size = InputSize(spec.image_size, spec.interpolation, config.crop_pct or spec.crop_pct)
    shorter = dict.fromkeys(catalog.splits, size.resized)
    shorter["train"] = max(size.resized, math.ceil(SHRUNK * size.image_size))
    pixels = {name: len(images) * shorter[name] ** 2 for name, images in catalog.splits.items()}
    together = sum(pixels[name] for name in catalog.splits if shorter[name] == shorter[split])  # they share a file
    return plan_cache(
        "\0".join(places),
        sum(len(images) for images in catalog.splits.values()),
        config.cache_gb * together / sum(pixels.values()),
        shorter[split],
        spec.interpolation,
    )
