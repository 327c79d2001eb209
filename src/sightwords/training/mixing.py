"""Mixup and cutmix: images, labels and text with the same partner and the same share.

Shapes: B images of this process, K classes, C channels, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sightwords.images.config import AugmentConfig
from sightwords.images.seeds import generator


@dataclass(frozen=True)
class Mix:
    """How the images of one step are mixed.

    Attributes:
        share: what each image keeps of itself, 0 to 1.
        box: (top, bottom, left, right) as fractions of the sides, taken from the partner (cutmix); None blends (mixup).
    """

    share: float
    box: tuple[float, float, float, float] | None = None


def draw_mix(config: AugmentConfig, seed: int, step: int, image_size: int) -> Mix | None:
    """Return the mix of a step, a function of (seed, step); None where neither mixup nor cutmix is on.

    Sources: mixup, arXiv 1710.09412; cutmix, arXiv 1905.04899 (the box is cut off at the border, and the share is
    that of the pixels that are left).

    Args:
        config: alphas of both.
        seed: seed of the run.
        step: optimizer step.
        image_size: side of the square image in pixels; the box lies on whole pixels.
    """
    if not config.mixup and not config.cutmix:
        return None
    random = generator("mix", seed, step)
    cut = random.random() < 0.5 if config.mixup and config.cutmix else bool(config.cutmix)
    if not cut:
        return Mix(float(random.beta(config.mixup, config.mixup)))
    side = np.sqrt(1 - random.beta(config.cutmix, config.cutmix)) * image_size
    center = random.random(2) * image_size
    low = np.clip(np.round(center - side / 2), 0, image_size)
    high = np.clip(np.round(center + side / 2), 0, image_size)
    taken = float(np.prod(high - low)) / image_size**2
    top, left = (low / image_size).tolist()
    bottom, right = (high / image_size).tolist()
    return Mix(1 - taken, (top, bottom, left, right))


def partners(positions_B: Tensor) -> Tensor:
    """Return the row of each image's partner, int64, shape (B,).

    Partners are neighbors in the global batch, whose order is random: places 0 and 1, 2 and 3, ... So both are
    always in the same process. An image whose partner could not be read is its own partner.

    Args:
        positions_B: places in the global batch, ascending, int64, shape (B,).
    """
    wanted = positions_B ^ 1
    rows = torch.searchsorted(positions_B, wanted).clamp(max=len(positions_B) - 1)
    return torch.where(positions_B[rows] == wanted, rows, torch.arange(len(positions_B)))


def mix_images(images_BCHW: Tensor, partner_B: Tensor, mix: Mix) -> Tensor:
    """Return the mixed images, same shape and dtype."""
    other = images_BCHW[partner_B]
    if mix.box is None:
        return images_BCHW * mix.share + other * (1 - mix.share)
    height, width = images_BCHW.shape[-2:]
    top, bottom = round(mix.box[0] * height), round(mix.box[1] * height)
    left, right = round(mix.box[2] * width), round(mix.box[3] * width)
    mixed = images_BCHW.clone()
    mixed[..., top:bottom, left:right] = other[..., top:bottom, left:right]
    return mixed


def mix_labels(targets_BK: Tensor, partner_B: Tensor, share: float) -> Tensor:
    """Return the mixed targets, same shape: `share` of the own, the rest of the partner's."""
    return targets_BK * share + targets_BK[partner_B] * (1 - share)
