from __future__ import annotations

import argparse
import urllib.error
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision

from sightwords.errors import ArtifactError, ModelError
from sightwords.models import build_backbone


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(7)
    return timm.create_model("test_resnet", num_classes=9).state_dict()


def save(content: object, path: Path) -> str:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path)
    return str(path)


def build(weights: str, num_classes: int = 9, **kwargs):
    return build_backbone("test_resnet", num_classes, 32, weights, **kwargs)


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("weights.safetensors", lambda state: state),
        ("weights.pt", lambda state: state),
        ("checkpoint.pth", lambda state: {"state_dict": state, "epoch": 3}),
        ("checkpoint.pth", lambda state: {"model": state, "args": argparse.Namespace(lr=0.1)}),
        ("checkpoint.pth", lambda state: {"model": {f"_orig_mod.module.{name}": state[name] for name in state}}),
        # BatchNorm's counters are not in old files
        ("old.pth", lambda state: {name: state[name] for name in state if not name.endswith("num_batches_tracked")}),
    ],
)
def test_a_file_or_checkpoint_gives_its_weights(state, tmp_path, name, wrap):
    loaded = build(save(wrap(state), tmp_path / name)).network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_a_classifier_of_another_shape_starts_afresh(state, tmp_path):
    path = save(state, tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    scratch = build_backbone("test_resnet", 4, 32).classifier.weight
    torch.manual_seed(1)
    backbone = build(path, num_classes=4)
    assert torch.equal(backbone.classifier.weight, scratch)
    loaded = backbone.network.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state if not key.startswith("fc."))


def test_all_classifiers_of_a_distilled_network_start_afresh(tmp_path):
    kwargs = {"depth": 1, "embed_dim": 24, "num_heads": 2}
    name = "deit_tiny_distilled_patch16_224"
    state = timm.create_model(name, num_classes=9, img_size=32, **kwargs).state_dict()
    network = build_backbone(name, 4, 32, save(state, tmp_path / "weights.pth"), **kwargs).network
    assert network.head.out_features == network.head_dist.out_features == 4
    assert torch.equal(network.pos_embed, state["pos_embed"])


def test_position_embeddings_are_resized(tmp_path):
    kwargs = {"depth": 1, "embed_dim": 24, "num_heads": 2}
    small = build_backbone("vit_tiny_patch16_224", 4, 32, **kwargs).network
    path = save(small.state_dict(), tmp_path / "weights.pth")
    large = build_backbone("vit_tiny_patch16_224", 4, 64, path, **kwargs)
    assert large.network.pos_embed.shape == (1, 17, 24)  # 4 x 4 patches and the class token
    assert torch.equal(large.network.pos_embed[:, 0], small.pos_embed[:, 0])
    assert torch.equal(large.network.blocks[0].attn.qkv.weight, small.blocks[0].attn.qkv.weight)


def test_position_embeddings_of_torchvision_are_resized(tmp_path):
    small = build_backbone("torchvision:vit_b_16", 4, 32).network
    path = save(small.state_dict(), tmp_path / "weights.safetensors")
    large = build_backbone("torchvision:vit_b_16", 4, 64, path)
    assert large.network.encoder.pos_embedding.shape == (1, 17, 768)


def test_what_does_not_fit_is_named(state, tmp_path):
    fewer = {name: value for name, value in state.items() if not name.startswith("layer1.")}
    headless = {name: value for name, value in state.items() if not name.startswith("fc.")}
    for weights, message in (
        (fewer, r"does not fit ResNet.*Missing: layer1\.\S+, \S+, \S+ and \d+ more"),
        (headless, r"Missing: fc.weight, fc.bias\."),
        ({**state, "extra": torch.zeros(1)}, "Unexpected: extra"),
        ({**state, "conv1.0.weight": torch.zeros(2)}, r"Of another shape: conv1.0.weight \(\[2\], not "),
        (timm.create_model("test_vit", num_classes=9).state_dict(), "Missing: conv1.*Unexpected: cls_token"),
    ):
        with pytest.raises(ArtifactError, match=message):
            build(save(weights, tmp_path / "weights.pth"))
    with pytest.raises(ArtifactError, match="Missing: cls_token"):
        build_backbone("test_vit", 9, 64, save(state, tmp_path / "weights.pth"))


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match="damaged or holds more than weights"):
        build(save({"state_dict": Bomb()}, tmp_path / "bomb.pth"))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_what_is_no_file_of_weights_is_refused(state, tmp_path, name):
    path = Path(save(state, tmp_path / name))
    for content in (b"", b"not weights at all", b"PK\x03\x04 half an archive", path.read_bytes()[:-1000]):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="damaged"):
            build(str(path))
    for content in ([1, 2], {}, {"lr": 0.1}, torch.zeros(3)):
        with pytest.raises(ArtifactError, match="no tensors by name"):
            build(save(content, tmp_path / "other.pth"))
    for absent in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(ArtifactError, match="no weights file"):
            build(str(absent))


def test_torchvision_networks_with_versions_load(tmp_path):
    torch.manual_seed(2)
    stock = torchvision.models.mnasnet0_75(num_classes=4).state_dict()
    path = save(dict(stock), tmp_path / "weights.safetensors")
    loaded = build_backbone("torchvision:mnasnet0_75", 4, weights=path).network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in stock.items())


def test_pretrained_weights_of_timm(state, tmp_path):
    full = timm.create_model("test_resnet", num_classes=1000).state_dict()
    # timm's own way to say where its weights are; so the test needs no network
    overlay = {"file": save(full, tmp_path / "pretrained.safetensors")}
    backbone = build("pretrained", 4, pretrained_cfg_overlay=overlay)
    assert torch.equal(backbone.network.conv1[0].weight, full["conv1.0.weight"])
    whole = build("pretrained", 1000, pretrained_cfg_overlay=overlay)
    assert torch.equal(whole.classifier.weight, full["fc.weight"])


def test_pretrained_weights_of_timm_that_cannot_be_had(tmp_path):
    with pytest.raises(ModelError, match="cannot provide the weights of test_resnet.*give its path"):
        build("pretrained", 4, pretrained_cfg_overlay={"file": str(tmp_path / "absent.pth")})


def test_pretrained_weights_of_torchvision(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    full = torchvision.models.googlenet(init_weights=False).state_dict()
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    url = torchvision.models.GoogLeNet_Weights.DEFAULT.url
    save(full, tmp_path / "hub/checkpoints" / url.rpartition("/")[2])  # as if downloaded before
    backbone = build_backbone("torchvision:googlenet", 4, weights="pretrained")
    assert torch.equal(backbone.network.conv1.conv.weight, full["conv1.conv.weight"])
    assert backbone.network.transform_input  # the weights were made for other pixel statistics


def test_pretrained_weights_of_torchvision_that_cannot_be_had(tmp_path, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(ModelError, match="no route to host.*give its path"):
        build_backbone("torchvision:squeezenet1_1", 4, weights="pretrained")
