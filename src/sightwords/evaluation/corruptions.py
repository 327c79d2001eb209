"""Accuracy on pictures that went through a camera's and a cable's troubles, at five severities.

The kinds follow arXiv 1903.12261; the implementations are torchvision's operations on the network's own input, so
lengths are shares of its side and figures compare networks with inputs of one size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from sightwords.images.seeds import derive_seed

SEVERITIES = (1, 2, 3, 4, 5)
Corruption = Callable[[Tensor, int, torch.Generator], Tensor]


def _noise(image: Tensor, severity: int, draw: torch.Generator) -> Tensor:
    noise = torch.randn(image.shape, generator=draw) * 255 * (0.03, 0.06, 0.1, 0.15, 0.22)[severity - 1]
    return (image.float() + noise).round().clamp(0, 255).to(torch.uint8)


def _blur(image: Tensor, severity: int, draw: torch.Generator) -> Tensor:
    sigma = image.shape[-1] * (0.01, 0.016, 0.024, 0.034, 0.046)[severity - 1]
    size = 2 * max(1, round(3 * sigma)) + 1
    return torch.as_tensor(F.gaussian_blur(image, [size, size], [sigma, sigma]))


def _brightness(image: Tensor, severity: int, draw: torch.Generator) -> Tensor:
    return torch.as_tensor(F.adjust_brightness(image, (0.85, 0.7, 0.55, 0.4, 0.27)[severity - 1]))


def _contrast(image: Tensor, severity: int, draw: torch.Generator) -> Tensor:
    return torch.as_tensor(F.adjust_contrast(image, (0.75, 0.6, 0.45, 0.3, 0.18)[severity - 1]))


def _saturation(image: Tensor, severity: int, draw: torch.Generator) -> Tensor:
    return torch.as_tensor(F.adjust_saturation(image, (0.7, 0.5, 0.3, 0.15, 0.0)[severity - 1]))


def _jpeg(image: Tensor, severity: int, draw: torch.Generator) -> Tensor:
    return torch.as_tensor(F.jpeg(image, (50, 30, 18, 10, 5)[severity - 1]))


def _pixelate(image: Tensor, severity: int, draw: torch.Generator) -> Tensor:
    side = image.shape[-1]
    small = max(2, round(side * (0.7, 0.5, 0.4, 0.3, 0.2)[severity - 1]))
    shrunk = F.resize(image, [small, small], F.InterpolationMode.BILINEAR, antialias=True)
    return torch.as_tensor(F.resize(shrunk, [side, side], F.InterpolationMode.NEAREST))


def _rotation(image: Tensor, severity: int, draw: torch.Generator) -> Tensor:
    angle = (6.0, 12.0, 20.0, 30.0, 45.0)[severity - 1]
    sign = 1 if torch.rand((), generator=draw) < 0.5 else -1
    return torch.as_tensor(F.rotate(image, sign * angle, F.InterpolationMode.BILINEAR, fill=[124.0, 116.0, 104.0]))


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": _noise,
    "gaussian_blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "jpeg": _jpeg,
    "pixelate": _pixelate,
    "rotation": _rotation,
}


def corrupt(image: Tensor, name: str, severity: int, key: str) -> Tensor:
    """Return a corrupted picture, a function of its arguments alone.

    Args:
        image: uint8, shape (3, S, S).
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        key: the image's key, which the noise is drawn by.
    """
    assert severity in SEVERITIES
    draw = torch.Generator().manual_seed(derive_seed("corruption", name, severity, key))
    return CORRUPTIONS[name](image, severity, draw)


class CorruptionCounter:
    """Counts right answers under every corruption, batch by batch.

    Args:
        answer: from uint8 pictures (B, 3, S, S) to predicted classes (B,), both on the CPU.
    """

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        self._answer = answer
        self._correct = {(name, severity): 0 for name in CORRUPTIONS for severity in SEVERITIES}
        self._count = 0

    def add(self, images: Tensor, labels: Tensor, keys: list[str]) -> None:
        """Count a batch: pictures (B, 3, S, S) uint8, class indices (B,), keys."""
        self._count += len(images)
        for name, severity in self._correct:
            changed = [corrupt(image, name, severity, key) for image, key in zip(images, keys, strict=True)]
            self._correct[name, severity] += int((self._answer(torch.stack(changed)) == labels).sum())

    def metrics(self) -> dict[str, float]:
        """Return the accuracy under each, and `corruption_mean` over all, in [0, 1]."""
        found = {
            f"corruption_{name}_{severity}": correct / self._count
            for (name, severity), correct in self._correct.items()
        }
        return {**found, "corruption_mean": sum(found.values()) / len(found)}
