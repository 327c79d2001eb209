"""Encoders by their ID, devices and precisions."""

from __future__ import annotations

import pytest
import torch

from sightwords.errors import ConfigError, ModelError, UnknownNameError
from sightwords.stages.embed.encoders import open_encoder
from sightwords.stages.embed.encoders.encoder import (
    choose_device,
    choose_precision,
    folder_hash,
    require_hub,
    weights_hash,
)


@pytest.mark.parametrize("identifier", ["minilm", "builtin:minlm", "st:", "openclip:", "", "clip:ViT-B-32"])
def test_an_unknown_kind_is_answered_with_the_known_ones(identifier):
    with pytest.raises(UnknownNameError, match=r"builtin:minilm, st:NAME_OR_FOLDER, openclip:MODEL/TAG_OR_CHECKPOINT"):
        open_encoder(identifier)


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("gpu", "cuda:77"):
        with pytest.raises(ConfigError, match=f"--device is {name}"):
            choose_device(name)


def test_precisions():
    assert choose_precision("auto", torch.device("cpu")) == ("fp32", torch.float32)
    assert choose_precision("bf16", torch.device("cpu")) == ("bf16", torch.bfloat16)
    assert choose_precision("fp16", torch.device("cuda")) == ("fp16", torch.float16)


def test_a_hub_that_does_not_answer_is_told_at_once_with_other_ways():
    with pytest.raises(ModelError, match=r"Cannot load the encoder st:a/b: .*local folder.*builtin:minilm"):
        require_hub("a/b", "st:a/b")


def test_hashes_follow_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"one")
    (tmp_path / "sub" / "config.json").write_text("{}")
    first = folder_hash(tmp_path)
    (tmp_path / "notes.md").write_text("no part of the model")
    assert folder_hash(tmp_path) == first
    (tmp_path / "sub" / "config.json").write_text("{ }")
    assert folder_hash(tmp_path) != first
    layer = torch.nn.Linear(2, 2)
    before = weights_hash(layer)
    assert weights_hash(layer) == before
    with torch.no_grad():
        layer.bias[0] += 1e-3
    assert weights_hash(layer) != before
