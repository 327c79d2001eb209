from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from sightwords.errors import ConfigError, ModelError
from sightwords.models import Backbone, InputSpec, build_backbone
from sightwords.models.backbone import find_classifier, has_transformer_norm


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return build_backbone("timm:test_resnet", 5, 32).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def wrap(network: nn.Module, classifier: str) -> Backbone:
    return Backbone(network, classifier, identifier="own", kwargs={}, input_spec=InputSpec(32))


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_has_features_of_its_own(backbone, images, way):
    assert list(backbone.state_dict()) == [f"network.{name}" for name in backbone.network.state_dict()]
    features, logits = backbone(images)  # a copy after a pass with gradients, as timm's moving average makes it
    other = copy.deepcopy(backbone) if way == "deepcopy" else pickle.loads(pickle.dumps(backbone))
    assert all(torch.equal(a, b) for a, b in zip((features, logits), other(images), strict=True))
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.mul_(1.5)
    assert not torch.equal(other(images)[0], features)
    assert torch.equal(backbone(images)[0], features)


def test_compiles_to_one_graph_and_exports_with_the_stock_one(backbone, images):
    features, logits = backbone(images)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    for _ in range(2):
        compiled_features, compiled_logits = compiled(images)
        torch.testing.assert_close(compiled_features, features)
        torch.testing.assert_close(compiled_logits, logits)
    (compiled_features * torch.randn_like(features)).sum().backward()
    assert next(backbone.network.parameters()).grad.count_nonzero() > 0
    program = torch.export.export(backbone.network, (images,))
    torch.testing.assert_close(program.module()(images), logits)
    assert len(program.graph_signature.user_outputs) == 1


def test_a_map_that_a_convolution_reads_is_averaged(images):
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    features, logits = wrap(network, "1")(images)
    torch.testing.assert_close(features, network[0](images).mean(dim=(2, 3)))
    torch.testing.assert_close(network[1](features[:, :, None, None]).flatten(1), logits)


def test_what_has_no_pooled_features_or_logits_is_refused(backbone, images):
    with pytest.raises(ModelError, match="not pooled features"):
        wrap(nn.Sequential(nn.Flatten(2), nn.Linear(32 * 32, 4)), "1")(images)
    backbone.network.reset_classifier(7)
    with pytest.raises(ModelError, match="Was it replaced"):
        backbone(images)
    with pytest.raises(ConfigError, match="Flatten"):
        wrap(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "0")
    several = build_backbone("torchvision:googlenet", 4, aux_logits=True, init_weights=False).train()
    with pytest.raises(ModelError, match="aux_logits=False"):
        several(torch.randn(2, 3, 64, 64))
    one = build_backbone("torchvision:googlenet", 4, init_weights=False).train()
    assert one(torch.randn(2, 3, 64, 64))[1].shape == (2, 4)


def test_the_classifier_is_found():
    network = nn.ModuleDict(
        {"small": nn.Linear(4, 5), "wide": nn.Linear(8, 5), "wide_too": nn.Linear(8, 5), "last": nn.Linear(2, 5)}
    )
    assert find_classifier(network, 5) == "last"
    assert find_classifier(network, 5, ["small"]) == "small"
    assert find_classifier(network, 5, ["small", "wide", "wide_too"]) == "wide"
    assert find_classifier(network, 5, ["absent"]) == "last"
    with pytest.raises(ModelError, match="6 outputs"):
        find_classifier(network, 6)


def test_kinds_of_normalization():
    assert not has_transformer_norm(nn.Sequential(nn.Conv2d(3, 4, 1)))
    assert has_transformer_norm(nn.Sequential(nn.RMSNorm(4)))
    assert not has_transformer_norm(nn.Sequential(nn.LayerNorm(4), nn.BatchNorm2d(4)))
