"""Small images that can be told apart: a colored shape on a noisy ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = {"disc": (200, 40, 40), "square": (40, 170, 60), "bar": (50, 60, 200)}


def draw(class_name: str, seed: int, size: int = 32) -> Image.Image:
    """Return an image of a class, a function of (class, seed)."""
    random = np.random.default_rng([seed, *class_name.encode()])
    ground = random.integers(150, 255, (size, size, 3), dtype=np.uint8)
    image = Image.fromarray(ground)
    low, high = random.integers(2, size // 3), random.integers(size // 2, size - 2)
    box = [int(low), int(low), int(high), int(high)]
    pen = ImageDraw.Draw(image)
    if class_name == "disc":
        pen.ellipse(box, CLASSES[class_name])
    elif class_name == "square":
        pen.rectangle(box, CLASSES[class_name])
    else:
        pen.rectangle([box[0], size // 3, box[2], size // 2], CLASSES.get(class_name, (90, 90, 90)))
    return image


def write_class_folders(root: Path, num_train: int, num_val: int, size: int = 32) -> Path:
    """Write root/train/CLASS/N.png and root/val/CLASS/N.png."""
    for split, count, first in (("train", num_train, 0), ("val", num_val, 1000)):
        for class_name in CLASSES:
            folder = root / split / class_name
            folder.mkdir(parents=True)
            for i in range(count):
                draw(class_name, first + i, size).save(folder / f"{i:03d}.png")
    return root


def photo(height: int, width: int, seed: int) -> np.ndarray:
    """Return pixels with the spectrum of a photograph (amplitude falls with frequency), uint8, shape (H, W, 3)."""
    draw = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    layers = [
        np.fft.irfft2(np.fft.rfft2(draw.normal(size=(height, width))) / frequency, s=(height, width)) for _ in "rgb"
    ]
    gray, *colors = [(layer - layer.mean()) / layer.std() for layer in layers]
    channels = [gray, *(0.8 * gray + 0.2 * color for color in colors)]
    return np.asarray(np.clip(128 + 50 * np.stack(channels, axis=2), 0, 255), np.uint8)
