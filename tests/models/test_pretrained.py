"""Pretrained weights by name and license, without downloading any."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import timm

from sightwords.models import build_backbone, pretrained_source


@pytest.mark.parametrize(
    ("identifier", "name", "license"),
    [
        ("torchvision:resnet18", "torchvision:resnet18/IMAGENET1K_V1", None),
        ("torchvision:vit_h_14", "torchvision:vit_h_14/IMAGENET1K_SWAG_E2E_V1", "cc-by-nc-4.0"),
    ],
)
def test_torchvision_names_a_license_for_swag_weights_alone(identifier, name, license):
    assert pretrained_source(SimpleNamespace(identifier=identifier)) == (name, license)


def test_timm_names_its_weights_and_their_license():
    assert pretrained_source(build_backbone("test_resnet", 3)) == ("timm:test_resnet.r160_in1k", "apache-2.0")


def test_a_license_that_timm_does_not_know_is_unknown():
    config = timm.models.get_pretrained_cfg("dla60_res2net").to_dict()
    assert config["license"] == "unknown"
    backbone = SimpleNamespace(identifier="timm:dla60_res2net", network=SimpleNamespace(pretrained_cfg=config))
    assert pretrained_source(backbone)[1] is None
