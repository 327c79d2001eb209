from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sightwords.evaluation.corruptions import CORRUPTIONS, SEVERITIES, CorruptionCounter, corrupt


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """An image with colors, edges and a texture."""
    drawn = Image.new("RGB", (48, 48), (210, 190, 90))
    draw = ImageDraw.Draw(drawn)
    draw.ellipse((8, 5, 40, 30), fill=(40, 90, 200))
    draw.rectangle((20, 25, 44, 45), fill=(200, 30, 60))
    texture = np.random.default_rng(0).integers(-12, 12, (48, 48, 3))
    return torch.from_numpy((np.array(drawn) + texture).clip(0, 255).astype(np.uint8)).permute(2, 0, 1)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_changes_the_image_more(image, name):
    changes = []
    for severity in SEVERITIES:
        changed = corrupt(image, name, severity, "key")
        assert changed.shape == image.shape
        assert changed.dtype == torch.uint8
        changes.append((changed.float() - image.float()).abs().mean().item())
    assert changes[0] > 0.5
    assert changes == sorted(changes)


def test_noise_is_drawn_by_the_key_and_leaves_the_global_generator_alone(image):
    before, first = torch.get_rng_state(), corrupt(image, "gaussian_noise", 1, "a")
    assert torch.equal(first, corrupt(image, "gaussian_noise", 1, "a"))
    assert not torch.equal(first, corrupt(image, "gaussian_noise", 1, "b"))
    assert torch.equal(before, torch.get_rng_state())


def test_counter_asks_for_every_corruption_and_counts_right_answers():
    dark, light = torch.full((3, 32, 32), 40, dtype=torch.uint8), torch.full((3, 32, 32), 200, dtype=torch.uint8)
    counter = CorruptionCounter(lambda images: (images.float().mean((1, 2, 3)) > 128).long())
    counter.add(torch.stack([dark, light]), torch.tensor([0, 1]), ["a", "b"])
    found = counter.metrics()
    assert len(found) == len(CORRUPTIONS) * len(SEVERITIES) + 1
    assert found["corruption_gaussian_blur_5"] == 1.0  # a plain image stays as it is
    assert found["corruption_brightness_5"] == 0.5  # the light one is taken for dark
    rest = [value for name, value in found.items() if name != "corruption_mean"]
    assert found["corruption_mean"] == pytest.approx(sum(rest) / len(rest))
