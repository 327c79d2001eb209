"""Features by a module's name: pooled as the network lays them out, and gone without a trace."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
import torchvision
from torch import nn

from sightwords.errors import ConfigError, ModelError, UnknownNameError
from sightwords.models import build_backbone
from sightwords.models.features import FeatureHook


def test_a_map_is_averaged_over_its_places():
    network = timm.create_model("test_resnet", num_classes=3).eval()
    images = torch.rand(2, 3, 32, 32)
    hook = FeatureHook(network, "layer2")
    network(images)
    x = network.maxpool(network.act1(network.bn1(network.conv1(images))))
    torch.testing.assert_close(hook.features, network.layer2(network.layer1(x)).mean((2, 3)))


def test_channels_that_come_last_are_found_or_named():
    network = torchvision.models.swin_t(num_classes=3).eval()
    hook = FeatureHook(network, "features.1")
    network(torch.rand(2, 3, 64, 64))
    assert hook.output.shape == (2, 16, 16, 96)
    assert torch.equal(hook.features, hook.output.mean((1, 2)))
    hook.channels = "first"
    assert hook.features.shape == (2, 16)
    with pytest.raises(ConfigError, match="channels is 'middle'"):
        FeatureHook(network, "features.1", channels="middle")


def test_the_class_token_is_no_place():
    timm_vit = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, num_classes=3).eval()
    other = torchvision.models.VisionTransformer(32, 8, 2, 2, 24, 48, num_classes=3).eval()
    for network, name in ((timm_vit, "blocks.0"), (other, "encoder.layers.encoder_layer_0")):
        hook = FeatureHook(network, name)
        network(torch.rand(2, 3, 32, 32))
        assert torch.equal(hook.features, hook.output[:, 1:].mean(1))


def test_gradients_go_through():
    network = timm.create_model("test_resnet", num_classes=3)
    with FeatureHook(network, "layer1") as hook:
        network(torch.rand(2, 3, 32, 32))
        hook.features.sum().backward()
    assert network.conv1[0].weight.grad.abs().sum() > 0
    assert network.layer2[0].conv1.weight.grad is None


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.maps, self.one, self.unused = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.maps({"low": x, "high": x})
        self.one({"out": x})
        return x


def test_what_cannot_be_pooled_is_refused():
    network = Odd()
    hooks = {name: FeatureHook(network, name) for name in ("maps", "one", "unused")}
    network(torch.rand(2, 3, 4, 4))
    with pytest.raises(ModelError, match="'maps' gives dict with low, high"):
        _ = hooks["maps"].features
    with pytest.raises(ModelError, match="'unused' did not run"):
        _ = hooks["unused"].features
    assert hooks["one"].features.shape == (2, 3)
    with pytest.raises(UnknownNameError, match="Unknown module 'map'. Did you mean: maps"):
        FeatureHook(network, "map")


def test_copies_and_pickles_hold_no_features():
    network = timm.create_model("test_resnet", num_classes=3)
    hook = FeatureHook(network, "layer1")
    network(torch.rand(2, 3, 32, 32))
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        (kept,) = other.layer1._forward_hooks.values()
        assert kept.output is None
        assert other.state_dict().keys() == network.state_dict().keys()
    hook.remove()
    assert not network.layer1._forward_hooks


@pytest.mark.parametrize(
    ("name", "size", "layers"),
    [
        ("timm:test_resnet", 32, {"layer1": 32, "layer3": 192}),
        ("timm:vit_tiny_patch16_224", 32, {"blocks.0": 192, "blocks.5": 192}),
        ("torchvision:swin_t", 64, {"features.1": 96, "features.5": 384}),
    ],
)
def test_layers_of_networks_of_every_layout(name, size, layers):
    torch.manual_seed(0)
    backbone = build_backbone(name, 3, size)
    state, generator = copy.deepcopy(backbone.state_dict()), torch.get_rng_state()
    features, logits = backbone.eval()(images := torch.rand(2, 3, size, size))
    backbone.train()
    torch.set_rng_state(generator)
    backbone.take(layers=list(layers))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(module.training for module in backbone.modules())
    assert all(torch.equal(tensor, state[key]) for key, tensor in backbone.state_dict().items())
    assert backbone.layer_widths == layers
    again, same = backbone.eval()(images)
    assert torch.equal(again, features)
    assert torch.equal(same, logits)
    assert {key: tuple(x.shape) for key, x in backbone.layer_features.items()} == {k: (2, w) for k, w in layers.items()}
    other = copy.deepcopy(backbone)
    other(1 - images)
    assert not any(torch.equal(x, other.layer_features[key]) for key, x in backbone.layer_features.items())


def test_the_feature_may_be_another_modules():
    backbone = build_backbone("test_resnet", 3, 32).take("layer3")
    assert backbone.num_features == 192
    features, logits = backbone(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 192)
    assert logits.shape == (2, 3)
