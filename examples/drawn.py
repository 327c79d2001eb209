"""What the examples train on: drawn shapes, described, embedded, and joined by image key.

The first three steps are what `sightwords describe` (or `import`) and `sightwords embed` do for your own images.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import sightwords

SHAPES = ("disc", "square", "triangle")
COLORS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (230, 210, 40)}
SIZE = 32


def draw(shape: str, color: str, random: np.random.Generator) -> Image.Image:
    image = Image.fromarray(random.integers(90, 160, (SIZE, SIZE, 3), np.uint8))
    left, top = random.integers(2, 10, 2)
    side = random.integers(14, 20)
    box = (left, top, left + side, top + side)
    pen = ImageDraw.Draw(image)
    if shape == "triangle":
        pen.polygon([(box[0], box[3]), (box[2], box[3]), ((box[0] + box[2]) / 2, box[1])], COLORS[color])
    else:
        {"disc": pen.ellipse, "square": pen.rectangle}[shape](tuple(map(float, box)), COLORS[color])
    return image


def save_images(folder: Path, num_images: int = 48) -> list[Path]:
    """Save images as folder/train/SHAPE/*.png, and their descriptions as folder/descriptions.csv; return the files."""
    random, rows = np.random.default_rng(0), []
    for number in range(num_images):
        shape, color = SHAPES[number % len(SHAPES)], str(random.choice(list(COLORS)))
        path = folder / "train" / shape / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(shape, color, random).save(path)
        rows.append((path.relative_to(folder), f"A {color} {shape} on a gray ground."))
    with (folder / "descriptions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text"), *rows])
    return [folder / row[0] for row in rows]


def prepare(folder: Path) -> list[Path]:
    """Save images, describe them, and embed the descriptions into folder/E; return the files."""
    files = save_images(folder)
    sightwords.import_descriptions(
        sightwords.ImportConfig(folder / "descriptions.csv", images=str(folder), out=folder / "D.db")
    )
    sightwords.embed(sightwords.EmbedConfig(folder / "D.db", encoder="builtin:minilm", out=folder / "E"))
    return files


def load(folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return images (N, 3, 32, 32), labels (N,), text vectors (N, D) and their weights (N,)."""
    files = prepare(folder)
    text, weight = sightwords.TextVectors(folder / "E", sightwords.image_keys(files))[:]
    pixels = np.stack([np.asarray(Image.open(file), np.float32) for file in files])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    labels = torch.tensor([SHAPES.index(file.parent.name) for file in files])
    return images, labels, torch.from_numpy(text), torch.from_numpy(weight)
