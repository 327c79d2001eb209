"""Fast resizing against Pillow's, which timm and torchvision use: how near is stated in `resize.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sightwords.images.transforms import INTERPOLATIONS, resize
from support.images import photo

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}
assert set(FILTERS) == set(INTERPOLATIONS)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (150, 90), (300, 400), (31, 7)])
def test_near_to_pillow(interpolation, height, width):
    pixels = photo(200, 150, seed=1)
    expected = np.asarray(Image.fromarray(pixels).resize((width, height), FILTERS[interpolation])).astype(int)
    found = resize(pixels, height, width, interpolation)
    assert found.dtype == torch.uint8
    assert found.shape == (3, height, width)
    difference = np.abs(found.permute(1, 2, 0).numpy().astype(int) - expected)
    assert difference.max() <= (10 if interpolation == "bicubic" else 1)
    assert difference.mean() < 0.1


def test_hard_edges_stay_within_the_stated_bound():
    board = (np.indices((120, 120)).sum(0) // 7 % 2 * 255).astype(np.uint8)
    pixels = np.stack([board, 255 - board, board], axis=2)
    expected = np.asarray(Image.fromarray(pixels).resize((50, 50), Image.Resampling.BICUBIC)).astype(int)
    difference = np.abs(resize(pixels, 50, 50, "bicubic").permute(1, 2, 0).numpy().astype(int) - expected)
    assert difference.max() <= 10
    assert difference.mean() < 0.1


def test_the_same_size_changes_nothing_and_what_cannot_be_written_to_is_copied():
    pixels = photo(20, 30, seed=2)
    pixels.flags.writeable = False
    same = resize(pixels, 20, 30, "bicubic")
    assert np.array_equal(same.permute(1, 2, 0), pixels)
    same.zero_()
    assert pixels.any()
