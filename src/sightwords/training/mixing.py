"""Batches on the device: images, labels and text mixed with the same partner and the same lambda.

Shapes: B images of this process, K classes, C channels, H x W pixels, S descriptions of an image, D width of the text
vectors, E embedding sets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sightwords.align import mix_weights
from sightwords.images.config import AugmentConfig
from sightwords.images.loader import ImageBatch
from sightwords.images.seeds import generator
from sightwords.models import Backbone, normalize_images


@dataclass
class TextTargets:
    """The descriptions of a batch's images in one encoder's space, not yet mixed.

    Attributes:
        vectors: float32, shape (B, D), or (B, S, D) for several descriptions of each image.
        weight: 0 where an image has no description, float32, shape (B,).
        loss_weight: this micro-batch's part of the text weight of the whole step, over all processes.
    """

    vectors: Tensor
    weight: Tensor
    loss_weight: Tensor | float = 1.0

    def pin_memory(self) -> TextTargets:
        """Return them in page-locked memory (called by the loader)."""
        return replace(self, vectors=self.vectors.pin_memory(), weight=self.weight.pin_memory())

    def to(self, device: torch.device) -> TextTargets:
        """Return them on a device."""
        vectors, weight = (tensor.to(device, non_blocking=True) for tensor in (self.vectors, self.weight))
        return replace(self, vectors=vectors, weight=weight)


@dataclass
class TrainBatch:
    """What a training step takes, on the device.

    Attributes:
        images: normalized and mixed, float32, shape (B, C, H, W).
        targets: mixed, float32, shape (B, K).
        texts: one of each embedding set; none for the baseline.
        partner: row that each image is mixed with, int64, shape (B,), or None.
        lam: what each image keeps of itself.
        loss_weight: this micro-batch's part of the images of the whole step, over all processes.
    """

    images: Tensor
    targets: Tensor
    texts: tuple[TextTargets, ...] = ()
    partner: Tensor | None = None
    lam: float | None = None
    loss_weight: Tensor | float = 1.0


class BatchMaker:
    """Moves loaded batches to the device, normalizes them as the backbone wants, and mixes them there."""

    def __init__(
        self, backbone: Backbone, augment: AugmentConfig, seed: int, device: torch.device, channels_last: bool
    ) -> None:
        self._augment, self._seed, self._device = augment, seed, device
        self._spec = backbone.input_spec
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def images(self, batch: ImageBatch) -> Tensor:
        """Return the normalized images on the device, float32, shape (B, C, H, W)."""
        images = batch.images.to(self._device, non_blocking=True).contiguous(memory_format=self._format)
        return normalize_images(images, self._spec.mean, self._spec.std)

    def __call__(self, batch: ImageBatch) -> TrainBatch:
        """Return the batch ready for the step; text is mixed by the heads, with the same partner and lambda."""
        images, targets = self.images(batch), batch.targets.to(self._device, non_blocking=True)
        texts = tuple(text.to(self._device) for text in batch.extra)
        mix = draw_mix(self._augment, self._seed, batch.step, images.shape[-1])
        if mix is None:
            return TrainBatch(images, targets, texts)
        partner = partners(batch.positions).to(self._device, non_blocking=True)
        images, targets = mix_images(images, partner, mix), mix_labels(targets, partner, mix.lam)
        return TrainBatch(images, targets, texts, partner, mix.lam)

    def sizes(self, batch: ImageBatch) -> Tensor:
        """Return the number of images, and the total weight of each embedding set once mixed; float32, (1 + E,)."""
        mix = draw_mix(self._augment, self._seed, batch.step, batch.images.shape[-1])
        weights = [text.weight for text in batch.extra]
        if mix is not None:
            partner = partners(batch.positions)
            weights = [mix_weights(weight, partner, mix.lam) for weight in weights]
        return torch.tensor([len(batch.indices), *(float(weight.sum()) for weight in weights)])


@dataclass(frozen=True)
class Mix:
    """How the images of one step are mixed.

    Attributes:
        lam: what each image keeps of itself, 0 to 1.
        box: (top, bottom, left, right) in pixels, taken from the partner (cutmix); None blends (mixup).
    """

    lam: float
    box: tuple[int, int, int, int] | None = None


def draw_mix(config: AugmentConfig, seed: int, step: int, image_size: int) -> Mix | None:
    """Return the mix of a step, a function of (seed, step); None where neither mixup nor cutmix is on.

    Sources: mixup, arXiv 1710.09412; cutmix, arXiv 1905.04899 (the box is cut off at the border, and
    lambda is the fraction of pixels that are left). `image_size` is the side of the square images in pixels.
    """
    if not config.mixup and not config.cutmix:
        return None
    random = generator("mix", seed, step)
    cut = random.random() < 0.5 if config.mixup and config.cutmix else bool(config.cutmix)
    if not cut:
        return Mix(float(random.beta(config.mixup, config.mixup)))
    side = np.sqrt(1 - random.beta(config.cutmix, config.cutmix)) * image_size
    center = random.random(2) * image_size
    top, left = np.clip(np.round(center - side / 2), 0, image_size).astype(int).tolist()
    bottom, right = np.clip(np.round(center + side / 2), 0, image_size).astype(int).tolist()
    return Mix(1 - (bottom - top) * (right - left) / image_size**2, (top, bottom, left, right))


def partners(positions_B: Tensor) -> Tensor:
    """Return the row of each image's partner, int64, shape (B,), from ascending places in the global batch, likewise.

    Partners are neighbors in the global batch, whose order is random: places 0 and 1, 2 and 3, ... So both are
    always in the same process. An image whose partner could not be read is its own partner.
    """
    wanted = positions_B ^ 1
    rows = torch.searchsorted(positions_B, wanted).clamp(max=len(positions_B) - 1)
    return torch.where(positions_B[rows] == wanted, rows, torch.arange(len(positions_B)))


def mix_images(images_BCHW: Tensor, partner_B: Tensor, mix: Mix) -> Tensor:
    """Return the mixed images, same shape and dtype."""
    other = images_BCHW[partner_B]
    if mix.box is None:
        return images_BCHW * mix.lam + other * (1 - mix.lam)
    top, bottom, left, right = mix.box
    mixed = images_BCHW.clone()
    mixed[..., top:bottom, left:right] = other[..., top:bottom, left:right]
    return mixed


def mix_labels(targets_BK: Tensor, partner_B: Tensor, lam: float) -> Tensor:
    """Return the mixed targets, same shape: `lam` of the own, the rest of the partner's."""
    return targets_BK * lam + targets_BK[partner_B] * (1 - lam)
