"""From an image to the network's input size, as uint8; each draw is a function of the image and the epoch."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from sightwords.images.config import AugmentConfig
from sightwords.images.decode import Box, EncodedImage
from sightwords.images.seeds import derive_seed, torch_seeded

INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "lanczos")
# torch has no lanczos, and breaks ties of nearest differently
_PILLOW = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}
_RATIOS = (3 / 4, 4 / 3)  # width to height of random crops


def resize(pixels_HWC: np.ndarray, height: int, width: int, interpolation: str) -> Tensor:
    """Return `pixels_HWC`, uint8, (H, W, 3), at another size, uint8, (3, height, width), antialiased where smaller."""
    if interpolation in _PILLOW:
        return _channels_first(np.array(Image.fromarray(pixels_HWC).resize((width, height), _PILLOW[interpolation])))
    pixels_CHW = _channels_first(pixels_HWC)
    if pixels_CHW.shape[1:] == (height, width):
        return pixels_CHW.contiguous()
    return F.interpolate(pixels_CHW[None], (height, width), mode=interpolation, antialias=True)[0]


def _channels_first(pixels_HWC: np.ndarray) -> Tensor:
    # torch warns of arrays that it must not write to, such as those of a file in memory
    return torch.from_numpy(pixels_HWC if pixels_HWC.flags.writeable else pixels_HWC.copy()).permute(2, 0, 1)


@dataclass(frozen=True)
class DecodedImage:
    """An image whose pixels, uint8, shape (H, W, 3), are at hand."""

    pixels: np.ndarray
    reductions: tuple[int, ...] = (1,)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def crop(self, box: Box, reduction: int = 1) -> np.ndarray:
        """Return a part of it, uint8, a view of shape (height, width, 3); `reduction` is its decoding scale."""
        left, top, right, bottom = box
        return self.pixels[top:bottom, left:right]


CroppableImage = EncodedImage | DecodedImage


@dataclass(frozen=True)
class InputSize:
    """What a network takes.

    Attributes:
        image_size: side in pixels.
        interpolation: one of `INTERPOLATIONS`.
        crop_pct: fraction of the side that the center crop keeps.
        mean: of each channel, 0 to 1; the color of what augmentation leaves open.
    """

    image_size: int
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)

    @property
    def resized(self) -> int:
        """The shorter side in pixels to which evaluation resizes before it crops."""
        return max(self.image_size, round(self.image_size / self.crop_pct))


class RandomOperation(torch.nn.Module):
    """One operation of torchvision's RandAugment; its strength, 0 to 30, is normal with mean `magnitude` and `std`.

    `fill` is the color of what comes from outside of the image, 0 to 255.
    """

    def __init__(self, magnitude: int, std: float, fill: list[int]) -> None:
        super().__init__()
        self._magnitude, self._std = magnitude, std
        self._operations = [v2.RandAugment(1, strength, fill=fill) for strength in range(31)]

    def forward(self, image: Image.Image) -> Image.Image:
        drawn = torch.randn(()).item() * self._std if self._std else 0.0
        changed: Image.Image = self._operations[min(30, max(0, round(self._magnitude + drawn)))](image)
        return changed


def random_crop(size: tuple[int, int], smallest: float, draw: random.Random) -> Box:
    """Return a random part of an image, by the rule of torchvision's RandomResizedCrop (arXiv 1409.4842).

    `size` is width and height in pixels; `smallest` is the smallest fraction of the area.
    """
    width, height = size
    for _ in range(10):
        area = width * height * draw.uniform(smallest, 1.0)
        ratio = math.exp(draw.uniform(math.log(_RATIOS[0]), math.log(_RATIOS[1])))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left, top = draw.randint(0, width - crop_width), draw.randint(0, height - crop_height)
            return left, top, left + crop_width, top + crop_height
    # an image too narrow: its middle, as wide as is allowed
    crop_width = min(width, round(height * _RATIOS[1]))
    crop_height = min(height, round(width / _RATIOS[0]))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


def reduced(box: Box, image_size: int, reductions: tuple[int, ...]) -> tuple[Box, int]:
    """Return the box on a coarser grid, and the factor by which the image may be shrunk before it is cropped.

    The factor is the largest that leaves twice the pixels that are wanted in each direction, so that the filter of the
    interpolation still decides; edges move by less than the factor. `image_size` is the wanted side in pixels, and
    `reductions` are the possible factors, largest first.
    """
    left, top, right, bottom = box
    shorter = min(right - left, bottom - top)
    factor = next(factor for factor in reductions if factor == 1 or shorter // factor >= 2 * image_size)
    left, top = left - left % factor, top - top % factor
    return (left, top, right - right % factor, bottom - bottom % factor), factor


class TrainTransform:
    """Random crop, flip, RandAugment, jitter and erasing by `seed`; image in, uint8 (3, S, S) out."""

    def __init__(self, config: AugmentConfig, size: InputSize, seed: int) -> None:
        self.seed = seed
        self._config, self._size = config, size
        fill = [round(255 * value) for value in size.mean]
        operation = RandomOperation(config.magnitude, config.magnitude_std, fill)
        on_image: list[torch.nn.Module] = [operation] * config.randaugment
        if config.color_jitter:
            on_image.append(v2.ColorJitter(*(3 * [config.color_jitter])))
        steps = [v2.ToPILImage(), *on_image, v2.PILToTensor()] if on_image else []
        if config.erase:
            steps.append(v2.RandomErasing(config.erase, value=[float(value) for value in fill]))
        self._steps = v2.Compose(steps) if steps else None

    def __call__(self, image: CroppableImage, epoch: int, key: str, repeat: int = 0) -> Tensor:
        """Return the image as this epoch varies it, uint8 (3, S, S), a function of (seed, epoch, key, repeat) alone."""
        name: list[int | str] = ["augment", self.seed, epoch, key, *([repeat] if repeat else [])]
        draw = random.Random(derive_seed(*name))
        side = self._size.image_size
        box = random_crop(image.size, self._config.crop_scale, draw)
        pixels = resize(image.crop(*reduced(box, side, image.reductions)), side, side, self._size.interpolation)
        if draw.random() < self._config.flip:
            pixels = pixels.flip(-1)
        if self._steps is None:
            return pixels
        with torch_seeded(*name):
            return torch.as_tensor(self._steps(pixels))


class EvalTransform:
    """Resize of the shorter side and center crop; image in, uint8 (3, S, S) out."""

    def __init__(self, size: InputSize) -> None:
        self._size = size

    def __call__(self, image: CroppableImage, epoch: int, key: str, repeat: int = 0) -> Tensor:
        """Return the center of the image; `epoch`, `key` and `repeat` change nothing."""
        pixels = shrunk(image, self._size.resized, self._size.interpolation, exactly=True)
        return torch.as_tensor(v2.functional.center_crop(pixels, [self._size.image_size]))


def shrunk(image: CroppableImage, shorter: int, interpolation: str, exactly: bool = False) -> Tensor:
    """Return the whole image, its shorter side resized to `shorter` pixels, uint8, shape (3, H, W).

    A smaller image is enlarged if `exactly` is set, and else left as it is.
    """
    width, height = image.size
    whole, factor = reduced((0, 0, width, height), shorter, image.reductions)
    pixels = image.crop(whole, factor)
    side = min(width, height)
    if side <= shorter and not exactly:
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
    if width <= height:
        return resize(pixels, int(shorter * height / width), shorter, interpolation)
    return resize(pixels, shorter, int(shorter * width / height), interpolation)
