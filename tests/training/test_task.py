from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sightwords.align import AlignmentHead
from sightwords.models import build_backbone
from sightwords.training.alignment import POOLED, Alignment
from sightwords.training.mixing import TextTargets, TrainBatch
from sightwords.training.task import Task, Weighting, classification_loss


def test_both_classification_losses_are_those_of_torch():
    torch.manual_seed(0)
    logits, soft, several = torch.randn(5, 4), torch.rand(5, 4).softmax(1), torch.randint(0, 2, (5, 4)).float()
    expected = F.cross_entropy(logits, soft, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(classification_loss(logits, soft, 0.1, False), expected)
    expected = F.binary_cross_entropy_with_logits(logits, 0.8 * several + 0.1, reduction="none").mean(1)
    torch.testing.assert_close(classification_loss(logits, several, 0.2, True), expected)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return build_backbone("test_resnet", 3, 32)


def batch(num_images=4, dimension=6):
    torch.manual_seed(1)
    targets = torch.eye(3)[torch.arange(num_images) % 3]
    text = TextTargets(torch.randn(num_images, dimension), torch.ones(num_images))
    return TrainBatch(torch.rand(num_images, 3, 32, 32), targets, (text,))


def alignment(backbone, **options):
    head = AlignmentHead(backbone.num_features, 6, **options)
    return Alignment([{POOLED: head}], [1.0], 1.0)


def weighting(weight=1.0, balanced=False):
    return Weighting(torch.tensor(weight), balanced, torch.ones(()))


def test_the_loss_is_the_weighted_sum_and_the_head_learns_only_from_text(backbone):
    heads = alignment(backbone)
    task = Task(backbone, heads, label_smoothing=0.1, pad_to=4)
    result = task(batch(), weighting(0.3))
    sums = {name: value.item() for name, value in result["sums"].items()}
    assert sums["images"] == 4
    assert sums["align_factor"] / 4 == pytest.approx(0.3)
    assert result["loss"].item() == pytest.approx(
        sums["classification_loss"] / 4 + 0.3 * sums["align_loss"] / 4, rel=1e-5
    )
    assert result["loss"].item() == pytest.approx(sums["loss"] / 4, rel=1e-5)
    result["loss"].backward()
    assert heads.heads[0][0].projector[0].weight.grad.abs().sum() > 0
    assert backbone.network.conv1[0].weight.grad.abs().sum() > 0


def test_balanced_gradients_are_equally_long_at_the_feature(backbone):
    backbone.eval()  # batches are normalized alike in both forward passes
    task = Task(backbone, alignment(backbone), pad_to=4).eval()
    short = batch()
    features, logits = task.features(short.images)
    classification, _ = task.classification(logits, short)
    align = task.align(features, short, 4)
    lengths = [torch.autograd.grad(x, features[POOLED], retain_graph=True)[0].norm() for x in (classification, align)]
    expected = 0.7 * classification + 0.3 * lengths[0] / lengths[1] * align
    result = task(short, weighting(0.3, balanced=True))
    assert result["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert result["sums"]["align_factor"].item() / 4 == pytest.approx((0.3 * lengths[0] / lengths[1]).item(), rel=1e-5)


def test_layers_and_encoders_each_have_a_head_and_a_factor():
    torch.manual_seed(0)
    backbone = build_backbone("test_resnet", 3, 32).take(layers=["layer1", "layer2"]).eval()
    widths = {POOLED: backbone.num_features, **backbone.layer_widths}
    heads = [{name: AlignmentHead(width, 6, "cosine") for name, width in widths.items()} for _ in range(2)]
    task = Task(backbone, Alignment(heads, [1.0, 0.5], 0.4), pad_to=4).eval()
    two = batch()
    two.texts = (two.texts[0], TextTargets(torch.randn(4, 6), torch.ones(4)))
    features, _ = task.features(two.images)
    expected = 0.0
    for factor, of_set, text in zip((1.0, 0.5), heads, two.texts, strict=True):
        parts = {name: head(features[name], text.vectors, text.weight).item() for name, head in of_set.items()}
        expected += factor * (parts[POOLED] + 0.4 * (parts["layer1"] + parts["layer2"]) / 2)
    assert task.align(features, two, 4).item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_that_lost_images_is_padded_with_rows_that_take_no_part(backbone):
    backbone.eval()
    heads = alignment(backbone, projector="linear")
    short = batch(3)
    exact = Task(backbone, heads, pad_to=3)(short, weighting())
    padded = Task(backbone, heads, pad_to=8)(short, weighting())
    assert padded["loss"].item() == pytest.approx(exact["loss"].item(), rel=1e-6)
