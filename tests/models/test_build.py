from __future__ import annotations

from types import SimpleNamespace

import pytest
import timm
import torch

from sightwords.errors import ConfigError, UnknownNameError
from sightwords.models import InputSpec, build_backbone, pretrained_source


def test_a_bare_name_means_timm():
    assert build_backbone("test_resnet", 5).identifier == "timm:test_resnet"
    assert type(build_backbone("test_resnet", 5).network) is type(timm.create_model("test_resnet"))


def test_scratch_weights_are_those_the_factory_would_draw():
    for name in ("test_resnet", "test_vit"):  # also where the factory first refuses the image size
        torch.manual_seed(3)
        backbone = build_backbone(name, 5, 64)
        torch.manual_seed(3)
        stock = timm.create_model(name, **backbone.kwargs).state_dict()
        assert all(torch.equal(value, stock[key]) for key, value in backbone.network.state_dict().items())


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("timm:resnet10t", InputSpec(176, "bicubic", 0.875, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ("timm:vit_tiny_patch16_224", InputSpec(224, "bicubic", 0.9, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))),
        ("torchvision:mobilenet_v3_small", InputSpec(224, interpolation="bilinear", crop_pct=224 / 256)),
    ],
)
def test_input_is_as_the_library_says(identifier, expected):
    assert build_backbone(identifier, 5).input_spec == expected


def test_image_size_and_options_reach_the_factory():
    assert build_backbone("test_vit", 5, 96).kwargs == {"num_classes": 5, "img_size": 96}
    for name in ("test_resnet", "torchvision:mobilenet_v3_small"):  # these take any size
        backbone = build_backbone(name, 5, 96)
        assert (backbone.kwargs, backbone.input_spec.image_size) == ({"num_classes": 5}, 96)
    assert build_backbone("test_vit", 5, img_size=96).input_spec.image_size == 96
    backbone = build_backbone("vit_tiny_patch16_224", 5, 32, depth=1, patch_size=8, drop_path_rate=0.1)
    assert len(backbone.network.blocks) == 1
    assert backbone.kwargs == {"depth": 1, "patch_size": 8, "drop_path_rate": 0.1, "num_classes": 5, "img_size": 32}


@pytest.mark.parametrize(
    "identifier",
    ["test_resnet", "test_vit", "torchvision:resnet18", "torchvision:mobilenet_v3_small", "torchvision:convnext_tiny"],
)
def test_an_unknown_option_is_named(identifier):
    with pytest.raises(ConfigError, match="drop_paths"):
        build_backbone(identifier, 5, 64, drop_paths=0.1)


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("resnet19", "timm model 'resnet19'.*resnet18"),
        ("timm:resnet18.a9_in1k", "resnet18.a1_in1k"),
        ("torchvision:resnet19", "torchvision model 'resnet19'.*resnet18"),
        ("torchvision:fcn_resnet50", "Unknown torchvision model"),
        ("vit_b_16", "torchvision:vit_b_16"),
        ("tim:resnet18", "library 'tim'.*timm"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(identifier, message):
    with pytest.raises(UnknownNameError, match=message):
        build_backbone(identifier, 5)


def test_values_that_are_not_allowed_are_refused():
    with pytest.raises(ConfigError, match="num_heads=5.*divisible"):
        build_backbone("vit_tiny_patch16_224", 5, num_heads=5)
    with pytest.raises(ConfigError, match="num_classes is 0"):
        build_backbone("test_resnet", 0)
    with pytest.raises(ConfigError, match="image_size is 0"):
        build_backbone("test_resnet", 5, 0)


def test_pretrained_weights_have_a_name_and_a_license_where_the_library_says_one():
    assert pretrained_source(build_backbone("test_resnet", 3)) == ("timm:test_resnet.r160_in1k", "apache-2.0")
    config = timm.models.get_pretrained_cfg("dla60_res2net").to_dict()
    assert config["license"] == "unknown"
    unknown = SimpleNamespace(identifier="timm:dla60_res2net", network=SimpleNamespace(pretrained_cfg=config))
    assert pretrained_source(unknown)[1] is None
    for name, weights, license in (
        ("resnet18", "IMAGENET1K_V1", None),
        ("vit_h_14", "IMAGENET1K_SWAG_E2E_V1", "cc-by-nc-4.0"),
    ):
        found = pretrained_source(SimpleNamespace(identifier=f"torchvision:{name}"))
        assert found == (f"torchvision:{name}/{weights}", license)
