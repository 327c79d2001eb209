"""From uint8 pictures to what networks take."""

from __future__ import annotations

import torch
from torch import Tensor


def normalize_images(images_BCHW: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (images / 255 - mean) / std, float32, shape (B, 3, H, W), on the images' device and in their format.

    Args:
        images_BCHW: uint8 pictures.
        mean: channel means of values in [0, 1].
        std: channel standard deviations, likewise.
    """
    shift = torch.tensor(mean, device=images_BCHW.device).view(1, 3, 1, 1) * 255
    scale = 1 / (torch.tensor(std, device=images_BCHW.device).view(1, 3, 1, 1) * 255)
    # in place: fresh memory cost more than the arithmetic
    return images_BCHW.float().sub_(shift).mul_(scale)
