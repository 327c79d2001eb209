from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sightwords.align import AlignmentHead
from sightwords.backbones import build_backbone
from sightwords.stages.train.batches import TrainBatch
from sightwords.stages.train.task import Task, classification_loss


def test_smoothed_softmax_loss_against_loops():
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(5, 4)), random.dirichlet(np.ones(4), 5)
    expected = []
    for row, target in zip(logits, targets, strict=True):
        log_total = math.log(sum(math.exp(v) for v in row))
        expected.append(-sum((0.9 * t + 0.1 / 4) * (v - log_total) for v, t in zip(row, target, strict=True)))
    got = classification_loss(torch.tensor(logits), torch.tensor(targets), 0.1, False)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_multi_label_loss_against_loops():
    random = np.random.default_rng(1)
    logits, targets = random.normal(size=(3, 4)), random.integers(0, 2, (3, 4)).astype(float)
    expected = []
    for row, target in zip(logits, targets, strict=True):
        soft = [0.8 * t + 0.1 for t in target]
        parts = [-(t * math.log(1 / (1 + math.exp(-v))) + (1 - t) * math.log(1 / (1 + math.exp(v))))
                 for v, t in zip(row, soft, strict=True)]  # fmt: skip
        expected.append(sum(parts) / 4)
    got = classification_loss(torch.tensor(logits), torch.tensor(targets), 0.2, True)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return build_backbone("timm:resnet10t", 3, 32)


def batch(num_images=4, dimension=6):
    torch.manual_seed(1)
    targets = torch.eye(3)[torch.arange(num_images) % 3]
    return TrainBatch(
        torch.rand(num_images, 3, 32, 32), targets, torch.randn(num_images, dimension), torch.ones(num_images)
    )


def test_the_loss_is_the_weighted_sum_and_the_head_learns_only_from_text(backbone):
    head = AlignmentHead(backbone.num_features, 6)
    task = Task(backbone, head, 0.3, 0.1, False, capacity=4)
    result = task(batch())
    classification, _, align, count = result["sums"].tolist()
    assert count == 4
    assert result["loss"].item() == pytest.approx(classification / 4 + 0.3 * align / 4, rel=1e-5)
    result["loss"].backward()
    assert head.projector[0].weight.grad.abs().sum() > 0
    assert backbone.network.conv1[0].weight.grad.abs().sum() > 0


def test_the_projection_stays_out_of_the_plain_network(backbone):
    task = Task(backbone, AlignmentHead(backbone.num_features, 6), 1.0, 0.0, False, capacity=4)
    plain = set(task.backbone.network.state_dict())
    assert not any("projector" in name for name in plain)
    assert {name for name in task.state_dict() if not name.startswith("head.")} == {
        f"backbone.network.{n}" for n in plain
    }


def test_baseline_has_no_alignment(backbone):
    result = Task(backbone, None, 1.0, 0.0, False, capacity=4)(batch())
    assert result["sums"][2] == 0
    assert result["loss"].item() == pytest.approx(result["sums"][0].item() / 4, rel=1e-5)


def test_a_batch_that_lost_images_is_padded_with_rows_that_take_no_part(backbone):
    backbone.eval()
    head = AlignmentHead(backbone.num_features, 6, projector="linear")
    short = batch(3)
    exact = Task(backbone, head, 1.0, 0.0, False, capacity=3)(short)
    padded = Task(backbone, head, 1.0, 0.0, False, capacity=8)(short)
    assert padded["loss"].item() == pytest.approx(exact["loss"].item(), rel=1e-6)
