"""One pass of a network over a set of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sightwords.backbones import Backbone, normalize_images
from sightwords.data.loader import ImageBatch
from sightwords.progress import Progress


@dataclass(frozen=True)
class Predictions:
    """What a network says about N images, on the CPU.

    Attributes:
        features: pooled features, float32, shape (N, F).
        logits: outputs, float32, shape (N, K).
        targets: 0 or 1 for each class, float32, shape (N, K).
        indices: index of each image in its set, int64, shape (N,).
        unreadable: names and reasons of images that are not among the N.
    """

    features: Tensor
    logits: Tensor
    targets: Tensor
    indices: Tensor
    unreadable: list[str]


@torch.inference_mode()
def predict(
    backbone: Backbone,
    loader: DataLoader[ImageBatch],
    device: torch.device,
    num_images: int,
    title: str,
    also: Callable[[ImageBatch], None] | None = None,
) -> Predictions:
    """Return a network's features and outputs for every image of a loader, in eval mode.

    Args:
        backbone: the network, on the device.
        loader: the images, in batches.
        device: where the network is.
        num_images: how many come, for the progress.
        title: of the progress.
        also: called with every loaded batch.
    """
    backbone.eval()
    spec = backbone.input_spec
    parts: list[tuple[Tensor, ...]] = []
    unreadable: list[str] = []
    with Progress(title, num_images, "images") as progress:
        for batch in loader:
            images = normalize_images(batch.images.to(device, non_blocking=True), spec.mean, spec.std)
            features, logits = backbone(images)
            parts.append((features.float().cpu(), logits.float().cpu(), batch.targets, batch.indices))
            unreadable += batch.unreadable
            if also is not None:
                also(batch)
            progress.advance(len(batch.indices) + len(batch.unreadable))
    features, logits, targets, indices = (torch.cat(column) for column in zip(*parts, strict=True))
    return Predictions(features, logits, targets, indices, unreadable)
