"""Images on disk for the import's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sightwords.images.keys import image_key

PICTURES = (
    "train/cat/one.png", "train/cat/two.png", "train/dog/three.png", "val/cat/four.png", "val/dog/five.png",
)  # fmt: skip


@pytest.fixture
def draw() -> Callable[[Path, int], str]:
    """Return a function that draws a picture of its own for a number and returns the picture's key."""

    def make(path: Path, number: int) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number % 256, number // 256, 7)).save(path, "PNG")
        return image_key(path.read_bytes())

    return make


@pytest.fixture
def pictures(tmp_path: Path, draw: Callable[[Path, int], str]) -> tuple[Path, dict[str, str]]:
    """Return a folder of five images and their keys by path."""
    root = tmp_path / "images"
    return root, {name: draw(root / name, number) for number, name in enumerate(PICTURES)}
