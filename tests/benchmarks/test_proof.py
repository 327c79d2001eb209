from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sightwords
from sightwords.comparison.arms import with_arm
from sightwords.comparison.cells import training
from sightwords.models import build_backbone

FOLDER = Path(__file__).parents[2] / "benchmarks" / "proof"
MODELS = sorted((FOLDER / "models").glob("*.yaml"))


@pytest.fixture
def config(tmp_path):
    return sightwords.CompareConfig("images", out=tmp_path, embeddings=[Path("E")], image_size=32)


def test_there_are_six_networks():
    assert len(MODELS) >= 6


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
@pytest.mark.parametrize("image_size", [32, 64])
def test_each_network_learns_at_the_sizes_of_the_proof(config, model, image_size):
    train = training(config, str(model))
    assert train.lr in (0.001, 0.002)
    backbone = build_backbone(train.model, 5, image_size, None, **train.model_kwargs)
    features, logits = backbone(torch.randn(4, 3, image_size, image_size))
    assert features.shape == (4, backbone.num_features)
    logits.sum().backward()


def test_the_papers_arm_is_the_papers_whatever_the_aligned_arm_is(config):
    config.align = sightwords.AlignConfig(weighting="gradient_balanced", weight=0.8, targets="centered")
    arm = with_arm(training(config, "resnet10t"), str(FOLDER / "paper.yaml"), [Path("E")])
    assert (arm.align.loss, arm.align.weight, arm.align.temperature) == ("clip", 0.3, 0.2)
    assert (arm.align.weighting, arm.align.targets) == ("fixed", "raw")
