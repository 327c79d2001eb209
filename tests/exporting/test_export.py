"""Exported files are stock networks: checked with the stock libraries alone, for families of both."""

from __future__ import annotations

import json

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file

from sightwords.errors import ArtifactError, ConfigError
from sightwords.exporting.config import ExportConfig
from sightwords.exporting.export import export as run
from sightwords.models import build_backbone
from sightwords.models.run_folder import RunFolder
from support.trained_run import trained_run

FAMILIES = {  # small ones of their kind
    "timm:mobilenetv3_small_050": {},
    "timm:convnext_atto": {"depths": [1, 1, 1, 1], "dims": [8, 16, 32, 64]},
    "timm:vit_tiny_patch16_224": {"depth": 2},
    "timm:deit_tiny_distilled_patch16_224": {"depth": 2},
    "timm:swin_tiny_patch4_window7_224": {"window_size": 4, "depths": [1, 1], "embed_dim": 24, "num_heads": [1, 2]},
    "torchvision:mobilenet_v3_small": {},
}


@pytest.mark.parametrize("model", FAMILIES)
def test_the_file_is_the_stock_network(tmp_path, model):
    network = trained_run(tmp_path / "run", model, 32, FAMILIES[model])
    out = tmp_path / "network.safetensors"
    result = run(ExportConfig(tmp_path / "run", out=out, num_images=2, pairs=1))
    options = RunFolder(tmp_path / "run").network().factory_kwargs
    library, _, name = model.partition(":")
    stock = timm.create_model(name, **options) if library == "timm" else torchvision.models.get_model(name, **options)
    stock.load_state_dict(load_file(out), strict=True)
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(stock.eval()(images), network(images))
    scope = {}
    exec(result.snippet, scope)  # the printed lines really work
    with torch.no_grad():
        assert torch.equal(scope["network"].eval()(images), network(images))


def test_the_sidecar_carries_classes_and_preprocessing(exported):
    folder, results = exported
    config = json.loads((folder / "n.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert config["label_names"] == ["bar", "disc", "square"]
    assert config["label_descriptions"]["bar"] == "Bar"
    names = ["n.json", "n.safetensors", "n.safetensors.card.md", "n.safetensors.certificate.json"]
    assert [path.name for path in results["timm"].files] == names


def test_a_stock_network_that_refuses_plain_dictionaries_is_refused_and_nothing_is_left(tmp_path):
    """torchvision's MNASNet wants version numbers that safetensors files do not hold; ours gives them when it loads."""
    network = trained_run(tmp_path / "run", "torchvision:mnasnet0_5", 64)
    again = build_backbone("torchvision:mnasnet0_5", 3, 64)
    again.load_weights(RunFolder(tmp_path / "run").load_weights())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.network.eval()(images), network(images))
    with pytest.raises(ArtifactError, match="does not load into the stock network"):
        run(ExportConfig(tmp_path / "run", out=tmp_path / "new" / "n.safetensors"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "n.safetensors", "format": "torchvision"}, "Use --format timm"),
        ({"out": "n.bin"}, "must end in .safetensors or .onnx or .pt2"),
        ({"out": "n.onnx", "format": "torch_export"}, "must end in .pt2"),
        ({"out": "n.onnx", "format": "tflite"}, "must be one of timm"),
        ({}, "Nowhere to write"),
        ({"push_to_hub": "a/b/c"}, "must be OWNER/NAME"),
        ({"push_to_hub": "me/birds", "format": "onnx"}, "uploads the hub folder"),
        ({"out": "n.onnx", "num_images": 0}, "--num-images is 0"),
        ({"out": "n.onnx", "use": "money"}, "allowed is: commercial"),
        ({"out": "run", "format": "hub"}, "holds something else"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(exported, tmp_path, monkeypatch, options, message):
    (tmp_path / "run").symlink_to(exported[0] / "run")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        run(ExportConfig("run", **options))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_hub_layout_is_for_timm_alone(tmp_path):
    trained_run(tmp_path / "run", "torchvision:mobilenet_v3_small")
    with pytest.raises(ConfigError, match="layout of the hub is timm's"):
        run(ExportConfig(tmp_path / "run", out=tmp_path / "hub", format="hub"))
