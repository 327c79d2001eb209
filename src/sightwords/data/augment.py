"""From a decoded picture to the network's input size, as uint8; each draw is a function of the image and the epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from sightwords.data.config import AugmentConfig
from sightwords.data.randomness import torch_seeded

INTERPOLATIONS = {
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
    "nearest": v2.InterpolationMode.NEAREST,
    "lanczos": v2.InterpolationMode.LANCZOS,
}


@dataclass(frozen=True)
class InputSize:
    """The picture that a network takes: side in pixels, interpolation, share kept by the centre crop."""

    image_size: int
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)


class RandomOperation(torch.nn.Module):
    """One operation of torchvision's RandAugment, its strength drawn from a normal distribution.

    Args:
        magnitude: mean strength, 0 to 30.
        std: standard deviation of the strength; 0 is always the same.
        fill: colour of what comes from outside of the picture.
    """

    def __init__(self, magnitude: int, std: float, fill: list[int]) -> None:
        super().__init__()
        self._magnitude, self._std = magnitude, std
        self._operations = [v2.RandAugment(1, strength, fill=fill) for strength in range(31)]

    def forward(self, image: Image.Image) -> Image.Image:
        strength = self._magnitude
        if self._std:
            drawn = torch.randn(()).item() * self._std + self._magnitude
            strength = min(30, max(0, round(drawn)))
        changed: Image.Image = self._operations[strength](image)
        return changed


class TrainTransform:
    """Random crop, flip, RandAugment, jitter and erasing; picture in, uint8 (3, S, S) out."""

    def __init__(self, config: AugmentConfig, size: InputSize, seed: int) -> None:
        self.seed = seed
        interpolation = INTERPOLATIONS[size.interpolation]
        steps: list[torch.nn.Module] = [
            v2.RandomResizedCrop(size.image_size, scale=(config.crop_scale, 1.0), interpolation=interpolation),
            v2.RandomHorizontalFlip(config.flip),
        ]
        fill = [round(255 * value) for value in size.mean]
        steps += config.randaugment * [RandomOperation(config.magnitude, config.magnitude_std, fill)]
        if config.color_jitter:
            steps.append(v2.ColorJitter(*(3 * [config.color_jitter])))
        steps.append(v2.PILToTensor())
        if config.erase:
            steps.append(v2.RandomErasing(config.erase, value=[float(value) for value in fill]))
        self._steps = v2.Compose(steps)

    def __call__(self, image: Image.Image, epoch: int, key: str, repeat: int = 0) -> Tensor:
        """Return the picture's variant of this epoch, a function of (seed, epoch, key, repeat) alone."""
        with torch_seeded("augment", self.seed, epoch, key, *([repeat] if repeat else [])):
            return torch.as_tensor(self._steps(image))


class EvalTransform:
    """Resize of the shorter side and centre crop; picture in, uint8 (3, S, S) out."""

    def __init__(self, size: InputSize) -> None:
        scaled = max(size.image_size, round(size.image_size / size.crop_pct))
        resize = v2.Resize(scaled, INTERPOLATIONS[size.interpolation])
        self._steps = v2.Compose([resize, v2.CenterCrop(size.image_size), v2.PILToTensor()])

    def __call__(self, image: Image.Image, epoch: int, key: str, repeat: int = 0) -> Tensor:
        """Return the centre of the picture; `epoch`, `key` and `repeat` change nothing."""
        return torch.as_tensor(self._steps(image))
