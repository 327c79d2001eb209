"""Every family of networks: features, logits and weights are those of the stock network."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import timm
import torch
import torchvision
from torch import nn

from sightwords.models import build_backbone

SMALL_VIT = {"depth": 2, "embed_dim": 48, "num_heads": 3}


class Family(NamedTuple):
    identifier: str
    kwargs: dict[str, Any]
    image_size: int
    is_transformer: bool
    feeds_all_logits: bool = True  # not where logits are averaged over classifiers, or pass a ReLU on their way


FAMILIES = [
    Family("timm:resnet18", {}, 32, False),
    Family("timm:mobilenetv3_small_050", {}, 32, False),
    Family("timm:convnext_atto", {"depths": (1, 1, 1, 1)}, 32, True),
    Family("timm:vit_tiny_patch16_224", SMALL_VIT, 64, True),
    Family("timm:deit_tiny_distilled_patch16_224", SMALL_VIT, 64, True, False),
    Family("timm:swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1), "embed_dim": 24}, 64, True),
    Family("timm:crossvit_9_240", {"depth": ((1, 1, 0),) * 3}, 240, True, False),
    Family("timm:levit_128s", {}, 64, False, False),
    Family("torchvision:mobilenet_v3_small", {}, 32, False),
    Family("torchvision:vit_b_16", {}, 32, True),
    Family("torchvision:squeezenet1_1", {}, 64, False, False),
    Family("torchvision:googlenet", {}, 32, False),
    Family("torchvision:mnasnet0_5", {}, 32, False),
]


@pytest.mark.parametrize("family", FAMILIES, ids=[family.identifier for family in FAMILIES])
def test_features_and_logits_are_those_of_the_stock_network(family):
    torch.manual_seed(0)
    backbone = build_backbone(family.identifier, 5, family.image_size, **family.kwargs).eval()
    for parameter in backbone.classifier.parameters():
        nn.init.normal_(parameter)  # some start from zero, and all logits would be equal
    images = torch.randn(2, 3, family.image_size, family.image_size)
    features, logits = backbone(images)
    assert features.shape == (2, backbone.num_features)
    assert logits.shape == (2, backbone.num_classes) == (2, 5)
    assert backbone.input_spec.image_size == family.image_size
    assert backbone.is_transformer == family.is_transformer
    assert not torch.equal(features[0], features[1])

    library, _, name = backbone.identifier.partition(":")
    stock = (timm.create_model if library == "timm" else torchvision.models.get_model)(name, **backbone.kwargs)
    stock.load_state_dict(backbone.network.state_dict(), strict=True)
    assert torch.equal(stock.eval()(images), logits)

    if family.feeds_all_logits:
        is_linear = isinstance(backbone.classifier, nn.Linear)
        read = features if is_linear else features[:, :, None, None]
        torch.testing.assert_close(backbone.classifier(read).flatten(1), logits)

    (features * torch.randn(features.shape)).sum().backward()
    first = next(parameter for parameter in backbone.network.parameters() if parameter.ndim > 1)
    assert first.grad.isfinite().all()
    assert first.grad.count_nonzero() > 0
    assert all(parameter.grad is None for parameter in backbone.classifier.parameters())


def test_a_distilled_network_gives_the_features_of_its_first_classifier():
    backbone = build_backbone("deit_tiny_distilled_patch16_224", 5, 64, **SMALL_VIT)
    assert backbone.classifier is backbone.network.head
    images = torch.randn(2, 3, 64, 64)
    features, logits = backbone.train()(images)
    tokens = backbone.network.forward_features(images)
    torch.testing.assert_close(features, tokens[:, 0])  # the class token; the distillation token is the second
    assert logits.shape == (2, 5)
