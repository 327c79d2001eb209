from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

import sightwords
from sightwords.comparison.arms import with_arm
from sightwords.comparison.cells import training
from sightwords.models import build_backbone

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODELS = sorted((BENCHMARKS / "proof" / "models").glob("*.yaml"))


@pytest.fixture
def config(tmp_path):
    return sightwords.CompareConfig("images", out=tmp_path, embeddings=[Path("E")], image_size=32)


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_each_of_six_networks_learns_at_the_sizes_of_the_proof(config, model):
    assert len(MODELS) >= 6
    train = training(config, str(model))
    for image_size in (32, 64):
        backbone = build_backbone(train.model, 5, image_size, None, **train.model_kwargs)
        features, logits = backbone(torch.randn(4, 3, image_size, image_size))
        assert features.shape == (4, backbone.num_features)
        logits.sum().backward()


def test_the_papers_arm_is_the_papers_whatever_the_aligned_arm_is(config):
    config.align = sightwords.AlignConfig(weighting="gradient_balanced", weight=0.8, targets="centered")
    arm = with_arm(training(config, "resnet10t"), str(BENCHMARKS / "proof" / "paper.yaml"), [Path("E")])
    assert (arm.align.loss, arm.align.weight, arm.align.temperature) == ("clip", 0.3, 0.2)
    assert (arm.align.weighting, arm.align.targets) == ("fixed", "raw")


def test_birds_are_drawn_with_their_descriptions(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from birds.dataset import write_birds

    write_birds(tmp_path, num_train=2, num_val=1, image_size=32)
    assert len(list(tmp_path.glob("val/*/*.png"))) == 24
    with (tmp_path / "descriptions.csv").open(newline="") as file:
        texts = {row["image"]: row["text"] for row in csv.DictReader(file)}
    assert sorted(texts) == sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("train/*/*.png"))
    assert all(3 <= len(text.split()) <= 15 for text in texts.values())
    first = tmp_path / "train" / "lantern_finch" / "000.png"
    assert Image.open(first).size == (32, 32)
    before = first.read_bytes()
    first.unlink()
    write_birds(tmp_path, num_train=2, num_val=1, image_size=32)
    assert first.read_bytes() == before
