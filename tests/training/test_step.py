"""The gradient of a step is that of the whole batch, however it is cut into micro-batches."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from sightwords.align import OBJECTIVES, AlignmentHead
from sightwords.images.config import AugmentConfig
from sightwords.images.loader import ImageBatch
from sightwords.models import build_backbone
from sightwords.training.alignment import POOLED, Alignment
from sightwords.training.config import AlignConfig, TrainConfig
from sightwords.training.distributed import Processes
from sightwords.training.mixing import BatchMaker, TextTargets
from sightwords.training.step import GradientStep
from sightwords.training.task import Task

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


def test_the_first_pass_leaves_the_running_statistics_alone():
    torch.manual_seed(0)
    backbone = build_backbone("test_resnet", NUM_CLASSES, 32)
    found = []
    for cache in (False, True):
        own = deepcopy(backbone)
        heads = {POOLED: AlignmentHead(own.num_features, DIM)}
        gradients(Task(own, Alignment([heads], [1.0], 1.0), pad_to=NUM_IMAGES), [6, 6], grad_cache=cache)
        found.append(dict(own.named_buffers()))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
