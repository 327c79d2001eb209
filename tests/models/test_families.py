"""Every family of networks: features, logits and weights are those of the stock network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from sightwords.models import Backbone, build_backbone

NUM_CLASSES = 5
SMALL_VIT = {"depth": 2, "embed_dim": 48, "num_heads": 3}


@dataclass(frozen=True)
class Family:
    identifier: str
    kwargs: dict[str, Any]
    image_size: int
    is_transformer: bool
    num_heads: int = 1  # classifiers whose logits are averaged


FAMILIES = {
    "resnet10t": Family("timm:resnet10t", {}, 32, False),
    "resnet18": Family("resnet18", {}, 32, False),
    "resnext": Family("timm:resnext50_32x4d", {"layers": (1, 1, 1, 1)}, 32, False),
    "resnetv2": Family("timm:resnetv2_18", {}, 32, False),
    "efficientnet": Family("timm:efficientnet_b0", {}, 32, False),
    "mobilenetv3": Family("timm:mobilenetv3_small_050", {}, 32, False),
    "regnet": Family("timm:regnetx_002", {}, 32, False),
    "densenet": Family("timm:densenet121", {"block_config": (2, 2, 2, 2)}, 32, False),
    "convnext": Family("timm:convnext_atto", {"depths": (1, 1, 1, 1)}, 32, True),
    "vit": Family("timm:vit_tiny_patch16_224", SMALL_VIT, 64, True),
    "deit": Family("timm:deit_tiny_patch16_224", SMALL_VIT, 64, True),
    "deit_distilled": Family("timm:deit_tiny_distilled_patch16_224", SMALL_VIT, 64, True, num_heads=2),
    "swin": Family("timm:swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1), "embed_dim": 24}, 64, True),
    "maxvit": Family("timm:maxvit_pico_rw_256", {}, 64, False),
    "coatnet": Family("timm:test_coatnet", {}, 64, False),
    "caformer": Family("timm:caformer_s18", {}, 32, True),
    "crossvit": Family("timm:crossvit_9_240", {"depth": ((1, 1, 0),) * 3}, 240, True, num_heads=2),
    "levit": Family("timm:levit_128s", {}, 64, False, num_heads=2),
    "tv_resnet18": Family("torchvision:resnet18", {}, 32, False),
    "tv_mobilenet_v3": Family("torchvision:mobilenet_v3_small", {}, 32, False),
    "tv_vit": Family("torchvision:vit_b_16", {}, 32, True),
    "tv_convnext": Family("torchvision:convnext_tiny", {}, 32, True),
    "tv_efficientnet": Family("torchvision:efficientnet_b0", {}, 32, False),
    "tv_densenet": Family("torchvision:densenet121", {}, 32, False),
    "tv_squeezenet": Family("torchvision:squeezenet1_1", {}, 64, False),
    "tv_swin": Family("torchvision:swin_t", {}, 64, True),
    "tv_regnet": Family("torchvision:regnet_y_400mf", {}, 32, False),
    "tv_googlenet": Family("torchvision:googlenet", {}, 32, False),
    "tv_mnasnet": Family("torchvision:mnasnet0_5", {}, 32, False),
}


@dataclass
class Built:
    family: Family
    backbone: Backbone
    images: Tensor
    features: Tensor
    logits: Tensor


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=FAMILIES)
def built(request):
    family = request.param
    torch.manual_seed(0)
    backbone = build_backbone(family.identifier, NUM_CLASSES, family.image_size, **family.kwargs).eval()
    for parameter in backbone.classifier.parameters():
        nn.init.normal_(parameter)  # some start from zero, and all logits would be equal
    images = torch.randn(2, 3, family.image_size, family.image_size)
    return Built(family, backbone, images, *backbone(images))


def stock_network(backbone: Backbone) -> nn.Module:
    library, _, name = backbone.identifier.partition(":")
    factory = timm.create_model if library == "timm" else torchvision.models.get_model
    return factory(name, **backbone.kwargs)


def test_shapes(built):
    backbone = built.backbone
    assert built.features.shape == (2, backbone.num_features)
    assert built.logits.shape == (2, NUM_CLASSES)
    assert backbone.num_classes == NUM_CLASSES
    assert backbone.input_spec.image_size == built.family.image_size
    assert built.features.isfinite().all()
    assert not torch.equal(built.features[0], built.features[1])


def test_logits_are_those_of_the_network(built):
    assert torch.equal(built.logits, built.backbone.network(built.images))


def test_weights_load_into_the_stock_network(built):
    stock = stock_network(built.backbone)
    stock.load_state_dict(built.backbone.network.state_dict(), strict=True)
    assert torch.equal(stock.eval()(built.images), built.logits)


def test_classifier_reads_the_features(built):
    classifier = built.backbone.classifier
    if built.family.num_heads > 1:
        pytest.skip("its logits are the mean of several classifiers, of which the features feed one")
    if isinstance(classifier, nn.Linear):
        torch.testing.assert_close(classifier(built.features), built.logits)
    elif built.family.identifier != "torchvision:squeezenet1_1":  # a ReLU stands between its map and the average
        torch.testing.assert_close(classifier(built.features[:, :, None, None]).flatten(1), built.logits)


def test_gradient_flows_from_the_features_into_the_network(built):
    built.backbone.zero_grad()
    features, _ = built.backbone(built.images)
    (features * torch.randn(features.shape)).sum().backward()
    first = next(parameter for parameter in built.backbone.network.parameters() if parameter.ndim > 1)
    assert first.grad.isfinite().all()
    assert first.grad.count_nonzero() > 0
    assert all(parameter.grad is None for parameter in built.backbone.classifier.parameters())


def test_transformers_are_told_from_convolutional_networks(built):
    assert built.backbone.is_transformer == built.family.is_transformer


def test_distilled_network_gives_the_features_of_its_first_classifier():
    family = FAMILIES["deit_distilled"]
    backbone = build_backbone(family.identifier, NUM_CLASSES, family.image_size, **family.kwargs)
    assert backbone.classifier is backbone.network.head
    images = torch.randn(2, 3, family.image_size, family.image_size)
    features, logits = backbone.train()(images)
    tokens = backbone.network.forward_features(images)
    torch.testing.assert_close(features, tokens[:, 0])  # the class token; the distillation token is the second
    assert logits.shape == (2, NUM_CLASSES)
