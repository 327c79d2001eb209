"""Exported files are stock networks: checked with the stock libraries alone, for families of both."""

from __future__ import annotations

import json

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file

from sightwords.artefacts.run_folder import NetworkInfo, RunFolder
from sightwords.backbones import build_backbone
from sightwords.errors import ArtefactError, ConfigError
from sightwords.stages.export.config import ExportConfig
from sightwords.stages.export.run import run
from sightwords.stages.export.weights import verify

FAMILIES = [
    ("timm:resnet10t", 32, {}),
    ("timm:resnext26ts", 32, {}),
    ("timm:efficientnet_b0", 32, {}),
    ("timm:mobilenetv3_small_050", 32, {}),
    ("timm:regnety_002", 32, {}),
    ("timm:densenet121", 32, {}),
    ("timm:convnext_atto", 32, {}),
    ("timm:vit_tiny_patch16_224", 32, {"depth": 2}),
    ("timm:deit_tiny_distilled_patch16_224", 32, {"depth": 2}),
    ("timm:swin_tiny_patch4_window7_224", 64, {"window_size": 4}),
    ("timm:maxvit_rmlp_pico_rw_256", 64, {}),
    ("torchvision:resnet18", 32, {}),
    ("torchvision:mobilenet_v3_small", 32, {}),
    ("torchvision:vit_b_16", 32, {}),
    ("torchvision:convnext_tiny", 32, {}),
]


def trained_run(folder, model, image_size, kwargs):
    """A run whose network took two training steps, so that no weight and no running statistic is the initial one."""
    backbone = build_backbone(model, 5, image_size, **kwargs)
    optimizer = torch.optim.SGD(backbone.parameters(), 1e-4)
    for _ in range(2):
        features, logits = backbone(torch.rand(4, 3, image_size, image_size))
        (logits.square().mean() + features.square().mean()).backward()
        optimizer.step()
    spec = backbone.input_spec
    names = [f"class {i}" for i in range(5)]
    info = NetworkInfo(model, kwargs, backbone.kwargs, 5, names, names, False, image_size, spec.interpolation,
                       spec.crop_pct, spec.mean, spec.std)  # fmt: skip
    run_folder = RunFolder(folder)
    run_folder.start({"model": model}, info)
    run_folder.save_weights(backbone.network.state_dict())
    return backbone.network.eval()


@pytest.mark.parametrize(("model", "image_size", "kwargs"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_the_file_is_the_stock_network(tmp_path, model, image_size, kwargs):
    network = trained_run(tmp_path / "run", model, image_size, kwargs)
    out = tmp_path / "network.safetensors"
    result = run(ExportConfig(tmp_path / "run", out=out))
    options = RunFolder(tmp_path / "run").network().factory_kwargs
    library, _, name = model.partition(":")
    stock = timm.create_model(name, **options) if library == "timm" else torchvision.models.get_model(name, **options)
    stock.load_state_dict(load_file(out), strict=True)
    images = torch.rand(3, 3, image_size, image_size)
    with torch.no_grad():
        assert torch.equal(stock.eval()(images), network(images))
    scope = {}
    exec("\n".join(line.strip() for line in result.snippet.splitlines()), scope)  # the printed lines really work
    with torch.no_grad():
        assert torch.equal(scope["network"].eval()(images), network(images))


def test_the_sidecar_carries_classes_and_preprocessing(tmp_path):
    trained_run(tmp_path / "run", *FAMILIES[0])
    result = run(ExportConfig(tmp_path / "run", out=tmp_path / "n.safetensors"))
    cfg = json.loads(result.sidecar.read_text())["pretrained_cfg"]
    assert cfg["input_size"] == [3, 32, 32]
    assert cfg["label_names"][0] == "class 0"
    assert "strict=True" in result.summary()


def test_verification_refuses_other_weights_and_leaves_nothing(tmp_path):
    network = trained_run(tmp_path / "run", *FAMILIES[0])
    weights = network.state_dict()
    name = next(n for n, t in weights.items() if t.is_floating_point())
    save_file({**weights, name: weights[name] + 1e-3}, tmp_path / "other.safetensors")
    stock = timm.create_model("resnet10t", num_classes=5)
    with pytest.raises(ArtefactError, match="answers otherwise: largest difference"):
        verify(tmp_path / "other.safetensors", stock, network, torch.rand(2, 3, 32, 32))
    save_file({n: t for n, t in weights.items() if n != name}, tmp_path / "short.safetensors")
    with pytest.raises(ArtefactError, match="does not load into the stock network"):
        verify(tmp_path / "short.safetensors", stock, network, torch.rand(2, 3, 32, 32))


def test_a_stock_network_that_refuses_plain_dictionaries_is_told(tmp_path):
    """torchvision's MNASNet wants version numbers that safetensors files do not hold; ours gives them when it loads."""
    network = trained_run(tmp_path / "run", "torchvision:mnasnet0_5", 32, {})
    again = build_backbone("torchvision:mnasnet0_5", 5, 32)
    again.load_weights(RunFolder(tmp_path / "run").load_weights())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.network.eval()(images), network(images))
    with pytest.raises(ArtefactError, match="does not load into the stock network"):
        run(ExportConfig(tmp_path / "run", out=tmp_path / "n.safetensors"))
    assert not (tmp_path / "n.safetensors").exists()


def test_wrong_format_and_ending(tmp_path):
    trained_run(tmp_path / "run", *FAMILIES[0])
    with pytest.raises(ConfigError, match="Use --format timm"):
        run(ExportConfig(tmp_path / "run", out=tmp_path / "n.safetensors", format="torchvision"))
    with pytest.raises(ConfigError, match=r"must end in .safetensors"):
        ExportConfig(tmp_path / "run", out=tmp_path / "n.bin")
    assert not (tmp_path / "n.safetensors").exists()
