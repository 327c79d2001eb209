from __future__ import annotations

import pytest
import timm
import torch

import sightwords.models as backbones
from sightwords.errors import ConfigError, UnknownNameError
from sightwords.models import InputSpec, build_backbone


def test_public_names():
    assert set(backbones.__all__) == {
        "Backbone", "InputSpec", "build_backbone", "normalize_images", "pretrained_source",
    }  # fmt: skip
    assert all(hasattr(backbones, name) for name in backbones.__all__)


def test_a_bare_name_means_timm():
    assert build_backbone("test_resnet", 5).identifier == build_backbone("timm:test_resnet", 5).identifier
    assert type(build_backbone("test_resnet", 5).network) is type(timm.create_model("test_resnet"))


def test_scratch_weights_are_those_the_factory_would_draw():
    # also where the factory first refuses the image size
    for name in ("test_resnet", "test_vit"):
        torch.manual_seed(3)
        backbone = build_backbone(name, 5, 64)
        torch.manual_seed(3)
        stock = timm.create_model(name, **backbone.kwargs).state_dict()
        assert all(torch.equal(value, stock[key]) for key, value in backbone.network.state_dict().items())


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("timm:resnet10t", InputSpec(176, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.875)),
        ("timm:vit_tiny_patch16_224", InputSpec(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 0.9)),
        ("torchvision:resnet18", InputSpec(224, interpolation="bilinear", crop_pct=224 / 256)),
        ("torchvision:mobilenet_v3_small", InputSpec(224, interpolation="bilinear", crop_pct=224 / 256)),
    ],
)
def test_input_is_as_the_library_says(identifier, expected):
    assert build_backbone(identifier, 5).input_spec == expected


def test_image_size_reaches_networks_made_for_one_size():
    assert build_backbone("test_vit", 5, 96).kwargs == {"num_classes": 5, "img_size": 96}
    assert build_backbone("test_resnet", 5, 96).kwargs == {"num_classes": 5}
    assert build_backbone("torchvision:mobilenet_v3_small", 5, 96).kwargs == {"num_classes": 5}
    assert build_backbone("test_vit", 5, img_size=96).input_spec.image_size == 96
    assert build_backbone("test_resnet", 5, 96).input_spec.image_size == 96


def test_options_reach_the_factory():
    backbone = build_backbone("vit_tiny_patch16_224", 5, 32, depth=1, patch_size=8, drop_path_rate=0.1)
    assert len(backbone.network.blocks) == 1
    assert backbone.network.patch_embed.patch_size == (8, 8)
    assert backbone.kwargs == {"depth": 1, "patch_size": 8, "drop_path_rate": 0.1, "num_classes": 5, "img_size": 32}


@pytest.mark.parametrize(
    "identifier",
    [
        "timm:test_resnet",
        "timm:test_vit",
        "timm:caformer_s18",
        "torchvision:resnet18",
        "torchvision:mobilenet_v3_small",
        "torchvision:convnext_tiny",
    ],
)
def test_an_unknown_option_is_named(identifier):
    with pytest.raises(ConfigError, match="does not take the option 'drop_paths'"):
        build_backbone(identifier, 5, 64, drop_paths=0.1)


def test_an_option_of_a_wrong_value_is_refused():
    with pytest.raises(ConfigError, match="num_heads=5.*divisible"):
        build_backbone("vit_tiny_patch16_224", 5, num_heads=5)


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("resnet19", "Unknown timm model 'resnet19'. Did you mean: .*resnet18"),
        ("timm:convnext_attto", "Did you mean: .*convnext_atto"),
        ("timm:resnet18.a9_in1k", "Did you mean: .*resnet18.a1_in1k"),
        ("torchvision:resnet19", "Unknown torchvision model 'resnet19'. Did you mean: resnet18"),
        ("torchvision:fcn_resnet50", "Unknown torchvision model"),
        ("vit_b_16", "torchvision has one: torchvision:vit_b_16"),
        ("tim:resnet18", "Unknown model library 'tim'. Did you mean: timm"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(identifier, message):
    with pytest.raises(UnknownNameError, match=message):
        build_backbone(identifier, 5)


def test_numbers_must_be_positive():
    with pytest.raises(ConfigError, match="num_classes is 0"):
        build_backbone("test_resnet", 0)
    with pytest.raises(ConfigError, match="image_size is 0"):
        build_backbone("test_resnet", 5, 0)
