from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sightwords.images.dataset import open_dataset
from sightwords.images.loader import eval_loader
from sightwords.images.transforms import EvalTransform, InputSize
from sightwords.models import InputSpec
from sightwords.training.config import TrainConfig
from sightwords.training.data import image_cache


@pytest.fixture
def noise(tmp_path):
    """A folder of images of many shapes, in which every pixel counts."""
    draw = np.random.default_rng(0)
    for number, size in enumerate([(60, 41), (33, 64), (150, 151), (24, 24), (9, 30)]):
        for split in ("train", "val"):
            path = tmp_path / "noise" / split / "a" / f"{number}.{'jpg' if number % 2 else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return tmp_path / "noise"


def config_of(noise, cache_gb):
    return TrainConfig(str(noise), out=noise / "run", cache_gb=cache_gb)


def evaluated(noise, spec, cache_gb):
    dataset = open_dataset(config_of(noise, cache_gb), show=False)
    cache = image_cache(config_of(noise, cache_gb), dataset, spec, "val")
    transform = EvalTransform(InputSize(spec.image_size, spec.interpolation, spec.crop_pct))
    return torch.cat([batch.images for batch in eval_loader(dataset.split("val"), 1, transform, 2, cache=cache)])


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos", "nearest"])
def test_evaluation_sees_the_very_pixels_that_it_sees_without_the_cache(noise, interpolation):
    spec = InputSpec(16, interpolation=interpolation)
    expected = evaluated(noise, spec, 0)
    assert expected.shape == (5, 3, 16, 16)
    for _ in ("made", "kept"):
        assert torch.equal(evaluated(noise, spec, 0.01), expected)


@pytest.mark.parametrize(("crop_pct", "shorter"), [(0.875, (24, 18)), (0.5, (32, 32))])
def test_the_files_of_all_splits_have_the_gigabytes_together(noise, crop_pct, shorter):
    config, spec = config_of(noise, 0.01), InputSpec(16, crop_pct=crop_pct)
    dataset = open_dataset(config, show=False)
    train, val = (image_cache(config, dataset, spec, split) for split in ("train", "val"))
    assert (train.shorter, val.shorter) == shorter
    if train == val:  # splits of one size share a file
        assert train.limit_bytes == 10_000_000
    else:
        assert train.path != val.path
        assert train.limit_bytes + val.limit_bytes == pytest.approx(1e7, abs=2)
        assert train.limit_bytes / val.limit_bytes == pytest.approx(24**2 / 18**2, rel=1e-4)
