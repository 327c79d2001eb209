"""Every objective, weighting and mixing on every family of networks: it runs, it is finite, and the loss falls.

The smallest network of each family, at the smallest size that it takes.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import product

import numpy as np
import pytest
import timm
import torch
import torchvision

from sightwords.align import OBJECTIVES, AlignmentHead
from sightwords.images.config import AugmentConfig
from sightwords.images.loader import ImageBatch
from sightwords.models import Backbone, build_backbone
from sightwords.training.mixing import BatchMaker, TextTargets, TrainBatch
from sightwords.training.task import POOLED, Alignment, Task, Weighting

NUM_IMAGES, NUM_CLASSES, DIM = 6, 3, 8
FAMILIES = {
    "timm:test_resnet": 32,
    "timm:test_vit": 32,
    "timm:test_efficientnet": 32,
    "timm:test_convnext": 32,
    "timm:test_nfnet": 32,
    "timm:test_byobnet": 32,
    "timm:test_mambaout": 32,
    "timm:test_maxvit": 64,
    "timm:test_coatnet": 64,
    "timm:mobilenetv3_small_050": 32,
    "timm:mobilenetv4_conv_small_035": 32,
    "timm:regnetx_002": 32,
    "timm:lcnet_035": 32,
    "timm:edgenext_xx_small": 32,
    "timm:mobilevit_xxs": 32,
    "timm:levit_128s": 32,
    "timm:xcit_nano_12_p16_224": 32,
    "timm:pvt_v2_b0": 32,
    "timm:hgnetv2_b0": 32,
    "timm:inception_next_atto": 32,
    "torchvision:resnet18": 32,
    "torchvision:mobilenet_v3_small": 32,
    "torchvision:shufflenet_v2_x0_5": 32,
    "torchvision:squeezenet1_1": 64,
    "torchvision:mnasnet0_5": 32,
    "torchvision:regnet_y_400mf": 32,
}
WEIGHTINGS = {"fixed": False, "gradient_balanced": True}
MIXINGS = {
    "plain": AugmentConfig(), "mixup": AugmentConfig(mixup=1.0), "cutmix": AugmentConfig(cutmix=1.0),
}  # fmt: skip


def build_task(backbone: Backbone, loss: str) -> Task:
    torch.manual_seed(1)
    means = torch.randn(NUM_CLASSES, DIM) if OBJECTIVES[loss].needs_class_text else None
    norm = "none" if backbone.is_transformer else "batch"
    head = AlignmentHead(backbone.num_features, DIM, loss, 0.2, norm=norm, class_text_KD=means)
    return Task(
        deepcopy(backbone), Alignment([{POOLED: head}], [1.0], 1.0), label_smoothing=0.1, pad_to=NUM_IMAGES
    ).train()


def make_batch(backbone: Backbone, augment: AugmentConfig, size: int) -> TrainBatch:
    random = np.random.default_rng(0)
    indices = torch.arange(NUM_IMAGES)
    text = torch.from_numpy(random.random((NUM_IMAGES, DIM), np.float32))
    weight = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 1.0])  # image 4 has no description
    loaded = ImageBatch(
        torch.from_numpy(random.integers(0, 256, (NUM_IMAGES, 3, size, size), np.uint8)),
        torch.eye(NUM_CLASSES)[indices % NUM_CLASSES],
        indices,
        indices,
        0,
        3,  # a step whose mix takes much of both images
        [],
        [TextTargets(text, weight)],
    )
    return BatchMaker(backbone, augment, 0, torch.device("cpu"), False)(loaded)


def losses(task: Task, batch: TrainBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Classification, alignment and the pooled feature, with the same dropout each time."""
    torch.manual_seed(2)
    features, logits = task.features(batch.images)
    return task.classification(logits, batch)[0], task.align(features, batch, NUM_IMAGES), features[POOLED]


def descends(task: Task, batch: TrainBatch, balanced: bool) -> bool:
    """Whether a short step against the gradient lowers the whole loss."""
    classification, align, feature = losses(task, batch)
    weighting = Weighting(torch.tensor(0.5), balanced, torch.ones(()))
    ratio = task.ratio(classification, align, feature, weighting)
    first, second = (1.0, 0.5) if ratio is None else (0.5, 0.5 * ratio)
    start = (first * classification + second * align).detach()
    torch.manual_seed(2)
    result = task(batch, weighting)
    heads = set(task.alignment.parameters())
    parameters = [parameter for parameter in task.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(result["loss"], parameters, materialize_grads=True)
    assert torch.isfinite(result["loss"])
    assert all(torch.isfinite(value) for value in result["sums"].values())
    square = sum(norm**2 for norm in torch._foreach_norm(gradients))
    assert torch.isfinite(square)
    if not balanced:  # balanced with a classification that has no gradient yet, the alignment waits
        assert any(gradient.any() for one, gradient in zip(parameters, gradients, strict=True) if one in heads)

    def moved(size: float) -> torch.Tensor:
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-size)
            now = losses(task, batch)
            torch._foreach_add_(parameters, gradients, alpha=size)
        return first * now[0] + second * now[1]

    return any(moved(part * float(start.abs() / square)) < start for part in (1e-2, 1e-3, 1e-4))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), list(enumerate(FAMILIES)))
def test_every_objective_weighting_and_mixing(number, name):
    """Every family with an objective, and every objective with some families."""
    torch.manual_seed(0)
    size = FAMILIES[name]
    backbone = build_backbone(name, NUM_CLASSES, size)
    batches = {mixing: make_batch(backbone, augment, size) for mixing, augment in MIXINGS.items()}
    task = build_task(backbone, list(OBJECTIVES)[number % len(OBJECTIVES)])
    for weighting, mixing in product(WEIGHTINGS, MIXINGS):
        assert descends(task, batches[mixing], WEIGHTINGS[weighting]), (weighting, mixing)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_was_trained_is_the_stock_network(name):
    torch.manual_seed(0)
    task = build_task(build_backbone(name, NUM_CLASSES, FAMILIES[name]), "clip")
    batch = make_batch(task.backbone, AugmentConfig(), FAMILIES[name])
    optimizer = torch.optim.SGD(task.parameters(), 0.01)
    task(batch, Weighting(torch.tensor(1.0), False, torch.ones(())))["loss"].backward()
    optimizer.step()
    library, _, model = name.partition(":")
    create = timm.create_model if library == "timm" else torchvision.models.get_model
    stock = create(model, **task.backbone.kwargs)
    stock.load_state_dict(task.backbone.network.state_dict(), strict=True)
    with torch.no_grad():
        expected = stock.eval()(batch.images)
        assert torch.equal(task.backbone.eval()(batch.images)[1], expected)
