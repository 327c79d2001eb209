"""The loss of a step, and that its gradient is that of the whole batch, however it is cut into micro-batches."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sightwords.align import OBJECTIVES, AlignmentHead
from sightwords.images.config import AugmentConfig
from sightwords.images.loader import ImageBatch
from sightwords.models import build_backbone
from sightwords.training.config import AlignConfig, TrainConfig
from sightwords.training.distributed import Processes
from sightwords.training.mixing import BatchMaker, TextTargets, TrainBatch
from sightwords.training.step import GradientStep
from sightwords.training.task import POOLED, Alignment, Task, Weighting, classification_loss

CPU = Processes(0, 1, torch.device("cpu"))
NUM_CLASSES, DIM, NUM_IMAGES = 3, 6, 12
POINTWISE = ["cosine", "mse", "tokens", "class_mean"]


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    vit = {"depth": 1, "embed_dim": 16, "num_heads": 2, "patch_size": 8}
    backbone = build_backbone("vit_tiny_patch16_224", NUM_CLASSES, 16, **vit).take(layers=["blocks.0"])

    def build(loss: str) -> Task:
        torch.manual_seed(1)
        means = torch.randn(NUM_CLASSES, DIM) if OBJECTIVES[loss].needs_class_text else None
        widths = {POOLED: backbone.num_features, **backbone.layer_widths}
        heads = {
            name: AlignmentHead(width, DIM, loss, 0.2, norm="none", class_text_KD=means)
            for name, width in widths.items()
        }
        return Task(deepcopy(backbone), Alignment([heads], [1.0], 0.5), label_smoothing=0.1, pad_to=NUM_IMAGES)

    return build


def loaded(sizes: list[int], num_texts: int = 1) -> list[ImageBatch]:
    """The same twelve images, cut into micro-batches; image 3 has no description."""
    torch.manual_seed(2)
    images = torch.randint(0, 256, (NUM_IMAGES, 3, 16, 16), dtype=torch.uint8)
    targets = torch.eye(NUM_CLASSES)[torch.arange(NUM_IMAGES) % NUM_CLASSES]
    text = torch.randn(NUM_IMAGES, num_texts, DIM).abs() if num_texts > 1 else torch.randn(NUM_IMAGES, DIM).abs()
    weight = torch.ones(NUM_IMAGES)
    weight[3] = 0
    places = torch.arange(NUM_IMAGES)
    return [
        ImageBatch(images[rows], targets[rows], rows, rows, 0, 0, [], [TextTargets(text[rows], weight[rows])])
        for rows in places.split(sizes)
    ]


def gradients(task: Task, sizes: list[int], mixup: float = 0.0, num_texts: int = 1, **align) -> dict[str, torch.Tensor]:
    config = TrainConfig(
        "images",
        out=Path("run"),
        embeddings=[Path("E")],
        accumulate=len(sizes),
        align=AlignConfig(**align),
        device="cpu",
    )
    maker = BatchMaker(task.backbone, AugmentConfig(mixup=mixup), 0, CPU.device, False)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    task.zero_grad()
    GradientStep(config, task, task, maker, scaler, CPU)(loaded(sizes, num_texts), 0, config.align.weight)
    return {name: parameter.grad.clone() for name, parameter in task.named_parameters()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6 * float(largest), msg=name)


@pytest.mark.parametrize("mixup", [0.0, 1.0])
@pytest.mark.parametrize("loss", OBJECTIVES)
def test_the_gradient_cache_gives_the_gradient_of_the_whole_batch(task, loss, mixup):
    whole = gradients(task(loss), [NUM_IMAGES], mixup, loss=loss)
    cached = gradients(task(loss), [6, 4, 2], mixup, loss=loss, grad_cache=True)
    assert_equal(cached, whole)


@pytest.mark.parametrize("loss", POINTWISE)
def test_objectives_without_negatives_need_no_cache(task, loss):
    assert_equal(gradients(task(loss), [6, 4, 2], loss=loss), gradients(task(loss), [NUM_IMAGES], loss=loss))


def test_contrastive_objectives_see_only_a_micro_batch_without_the_cache(task):
    with pytest.raises(AssertionError):
        assert_equal(gradients(task("clip"), [6, 6]), gradients(task("clip"), [NUM_IMAGES]))


def test_the_cache_with_several_texts(task):
    whole = gradients(task("clip"), [12], num_texts=3)
    assert_equal(gradients(task("clip"), [8, 4], num_texts=3, grad_cache=True), whole)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return build_backbone("test_resnet", 3, 32)


def batch(num_images=4):
    torch.manual_seed(1)
    targets = torch.eye(3)[torch.arange(num_images) % 3]
    text = TextTargets(torch.randn(num_images, DIM), torch.ones(num_images))
    return TrainBatch(torch.rand(num_images, 3, 32, 32), targets, (text,))


def alignment(backbone, **options):
    return Alignment([{POOLED: AlignmentHead(backbone.num_features, DIM, **options)}], [1.0], 1.0)


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


def test_the_loss_of_several_labels_is_torch_s_with_the_targets_smoothed_towards_one_half():
    logits, several = torch.randn(5, 4), torch.randint(0, 2, (5, 4)).float()
    expected = F.binary_cross_entropy_with_logits(logits, 0.8 * several + 0.1, reduction="none").mean(1)
    torch.testing.assert_close(classification_loss(logits, several, 0.2, True), expected)


def test_the_first_pass_leaves_the_running_statistics_alone(backbone):
    found = []
    for cache in (False, True):
        own = deepcopy(backbone)
        gradients(Task(own, alignment(own), pad_to=NUM_IMAGES), [6, 6], grad_cache=cache)
        found.append(dict(own.named_buffers()))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
