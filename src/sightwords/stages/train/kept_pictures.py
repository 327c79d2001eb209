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


def kept_pictures(config: TrainConfig, catalog: Catalog, spec: InputSpec) -> CachePlan | None:
    """Return where pictures are kept, shrunk to what crops and evaluation can use; None where --cache-gb is 0.

    Args:
        config: says where the images are, and how many gigabytes there are.
        catalog: the images of all splits.
        spec: what the network takes.
    """
    if not config.cache_gb:
        return None
    places = [str(Path(place).absolute()) for place in (config.images, config.train, config.val) if place]
    size = InputSize(spec.image_size, spec.interpolation, config.crop_pct or spec.crop_pct)
    num_images = sum(len(images) for images in catalog.splits.values())
    shorter = max(size.resized, math.ceil(SHRUNK * size.image_size))
    return plan_cache("\0".join(places), num_images, config.cache_gb, shorter, spec.interpolation)
