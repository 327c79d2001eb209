from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.align import AlignmentHead, mix_weights
from sightwords.images.config import AugmentConfig
from sightwords.images.loader import ImageBatch
from sightwords.models import build_backbone
from sightwords.training.mixing import BatchMaker, Mix, TextTargets, draw_mix, mix_images, mix_labels, partners
from sightwords.training.task import POOLED, Alignment

MIXUP = AugmentConfig(mixup=1.0)


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (range(8), [1, 0, 3, 2, 5, 4, 7, 6]),
        (range(4, 8), [1, 0, 3, 2]),  # of the second process
        ([0, 1, 2, 5, 6, 7], [1, 0, 2, 3, 5, 4]),  # 3 and 4 fell out
        ([3], [0]),
    ],
)
def test_partners_are_neighbors_and_an_image_without_keeps_to_itself(positions, expected):
    assert partners(torch.tensor(list(positions))).tolist() == expected


def test_mixup_is_the_weighted_sum():
    images = torch.rand(4, 3, 5, 5)
    mixed = mix_images(images, torch.tensor([1, 0, 3, 2]), Mix(0.7))
    np.testing.assert_allclose(mixed[0], 0.7 * images[0] + 0.3 * images[1], rtol=1e-6)
    assert torch.equal(mix_labels(torch.eye(4), torch.tensor([1, 0, 3, 2]), 0.5)[2], torch.tensor([0, 0, 0.5, 0.5]))


def test_cutmix_lam_is_the_fraction_of_pixels_that_stay():
    images = torch.stack([torch.zeros(3, 24, 24), torch.ones(3, 24, 24)])
    config = AugmentConfig(cutmix=1.0)
    lams = []
    for step in range(50):
        mix = draw_mix(config, 0, step, 24)
        mixed = mix_images(images, torch.tensor([1, 0]), mix)
        assert mixed[0].mean().item() == pytest.approx(1 - mix.lam, abs=1e-6)
        lams.append(mix.lam)
    assert min(lams) < 0.3
    assert max(lams) > 0.9


def test_a_mix_is_a_function_of_seed_and_step():
    config = AugmentConfig(mixup=0.8, cutmix=1.0)
    first = [draw_mix(config, 1, step, 32) for step in range(40)]
    assert first == [draw_mix(config, 1, step, 32) for step in range(40)]
    assert first != [draw_mix(config, 2, step, 32) for step in range(40)]
    assert {mix.box is None for mix in first} == {True, False}
    assert draw_mix(AugmentConfig(), 0, 0, 32) is None
    assert all(draw_mix(MIXUP, 0, step, 32).box is None for step in range(20))


def test_images_labels_and_text_have_the_same_partner_and_lam():
    backbone = build_backbone("test_resnet", 3, 32)
    pixels, rows = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), torch.arange(4)
    text = TextTargets(torch.eye(4), torch.tensor([1.0, 0.0, 1.0, 1.0]))  # image 1 has no description
    loaded = ImageBatch(pixels, torch.eye(4), rows, rows, 0, 0, [], [text])
    plain, mixed = (
        BatchMaker(backbone, augment, 0, torch.device("cpu"), False) for augment in (AugmentConfig(), MIXUP)
    )
    before, after = plain(loaded), mixed(loaded)
    lam = after.lam
    assert 0 < lam < 1
    assert after.partner.tolist() == [1, 0, 3, 2]
    torch.testing.assert_close(after.images, lam * before.images + (1 - lam) * before.images[after.partner])
    torch.testing.assert_close(after.targets, lam * torch.eye(4) + (1 - lam) * torch.eye(4)[after.partner])
    weights = mix_weights(text.weight, after.partner, lam)
    torch.testing.assert_close(mixed.sizes(loaded), torch.tensor([4, float(weights.sum())]))
    seen = {}
    heads = [{POOLED: AlignmentHead(backbone.num_features, 4)}]
    heads[0][POOLED].register_forward_pre_hook(lambda _, args, kwargs: seen.update(kwargs), with_kwargs=True)
    Alignment(heads, [1.0], 1.0)({POOLED: torch.randn(4, backbone.num_features)}, after, after.targets, 4)
    assert seen["lam"] == lam
    assert torch.equal(seen["partner_B"], after.partner)
