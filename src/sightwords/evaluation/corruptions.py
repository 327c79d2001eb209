"""Accuracy on images that a camera or a cable has spoiled, at five severities.

The kinds follow arXiv 1903.12261; the implementations are torchvision's operations on the network's own input, so
lengths are fractions of its side, and figures compare networks with inputs of one size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from sightwords.images.seeds import derive_seed


def _noise(image: Tensor, level: float, draw: torch.Generator) -> Tensor:
    noise = torch.randn(image.shape, generator=draw) * 255 * level
    return (image.float() + noise).round().clamp(0, 255).to(torch.uint8)


def _blur(image: Tensor, level: float, draw: torch.Generator) -> Any:
    sigma = image.shape[-1] * level
    size = 2 * max(1, round(3 * sigma)) + 1
    return F.gaussian_blur(image, [size, size], [sigma, sigma])


def _pixelate(image: Tensor, level: float, draw: torch.Generator) -> Any:
    side = image.shape[-1]
    small = max(2, round(side * level))
    shrunk = F.resize(image, [small, small], F.InterpolationMode.BILINEAR, antialias=True)
    return F.resize(shrunk, [side, side], F.InterpolationMode.NEAREST)


def _rotation(image: Tensor, level: float, draw: torch.Generator) -> Any:
    sign = 1 if torch.rand((), generator=draw) < 0.5 else -1
    return F.rotate(image, sign * level, F.InterpolationMode.BILINEAR, fill=[124.0, 116.0, 104.0])


# name -> what is done, and its strength at severities 1 to 5
CORRUPTIONS: dict[str, tuple[Callable[[Tensor, float, torch.Generator], Any], tuple[float, ...]]] = {
    "gaussian_noise": (_noise, (0.03, 0.06, 0.1, 0.15, 0.22)),
    "gaussian_blur": (_blur, (0.01, 0.016, 0.024, 0.034, 0.046)),
    "brightness": (lambda image, level, _: F.adjust_brightness(image, level), (0.85, 0.7, 0.55, 0.4, 0.27)),
    "contrast": (lambda image, level, _: F.adjust_contrast(image, level), (0.75, 0.6, 0.45, 0.3, 0.18)),
    "saturation": (lambda image, level, _: F.adjust_saturation(image, level), (0.7, 0.5, 0.3, 0.15, 0.0)),
    "jpeg": (lambda image, level, _: F.jpeg(image, int(level)), (50, 30, 18, 10, 5)),
    "pixelate": (_pixelate, (0.7, 0.5, 0.4, 0.3, 0.2)),
    "rotation": (_rotation, (6.0, 12.0, 20.0, 30.0, 45.0)),
}
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(image: Tensor, name: str, severity: int, key: str) -> Tensor:
    """Return an image, uint8, shape (3, S, S), corrupted at a severity of 1 to 5; a function of the arguments alone."""
    change, levels = CORRUPTIONS[name]
    draw = torch.Generator().manual_seed(derive_seed("corruption", name, severity, key))
    return torch.as_tensor(change(image, levels[severity - 1], draw))


class CorruptionCounter:
    """Counts right answers under every corruption, batch by batch.

    Args:
        predict: from uint8 images (B, 3, S, S) to predicted classes (B,), both on the CPU.
    """

    def __init__(self, predict: Callable[[Tensor], Tensor]) -> None:
        self._predict = predict
        self._correct = {(name, severity): 0 for name in CORRUPTIONS for severity in SEVERITIES}
        self._count = 0

    def add(self, images: Tensor, labels: Tensor, keys: list[str]) -> None:
        """Count a batch: images (B, 3, S, S) uint8, class indices (B,), keys."""
        self._count += len(images)
        for name, severity in self._correct:
            changed = [corrupt(image, name, severity, key) for image, key in zip(images, keys, strict=True)]
            self._correct[name, severity] += int((self._predict(torch.stack(changed)) == labels).sum())

    def metrics(self) -> dict[str, float]:
        """Return the accuracy under each, and `corruption_mean` over all, in [0, 1]."""
        found = {f"corruption_{name}_{level}": right / self._count for (name, level), right in self._correct.items()}
        return {**found, "corruption_mean": sum(found.values()) / len(found)}
