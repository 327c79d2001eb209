"""Make a folder of JPEG files that decode like photographs: the benchmarks' common input.

    python benchmarks/photos.py photos --images 512

Pixels are noise whose amplitude falls with frequency, as in natural images (Field 1987). At quality 92 a file of
500 x 375 pixels has about 110 kB, the mean of ImageNet's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image


def photo(height: int, width: int, seed: int) -> Image.Image:
    """Return a picture with the spectrum of a photograph, a function of (size, seed)."""
    draw = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    layers = []
    for _ in "rgb":
        layer = np.fft.irfft2(np.fft.rfft2(draw.normal(size=(height, width))) / frequency, s=(height, width))
        layers.append((layer - layer.mean()) / layer.std())
    gray, *colors = layers
    channels = [gray, *(0.8 * gray + 0.2 * color for color in colors)]
    return Image.fromarray(np.clip(128 + 50 * np.stack(channels, axis=2), 0, 255).astype(np.uint8))


def write_photos(folder: Path, num_images: int, size: tuple[int, int] = (500, 375), num_classes: int = 8) -> Path:
    """Write `train` and a quarter as many `val` images into class folders; what is there is kept."""
    width, height = size
    for split, count in (("train", num_images), ("val", max(num_classes, num_images // 4))):
        for number in range(count):
            path = folder / split / f"class-{number % num_classes}" / f"{number:05d}.jpg"
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = (height, width) if number % 4 else (width, height)  # a quarter stands upright
            photo(*shape, seed=number + 10**6 * (split == "val")).save(path, quality=92)
    return folder


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=512, help="of training")
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--height", type=int, default=375)
    options = parser.parse_args()
    write_photos(options.folder, options.images, (options.width, options.height))


if __name__ == "__main__":
    main()
