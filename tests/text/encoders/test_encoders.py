"""Encoders by their ID, devices and precisions."""

from __future__ import annotations

import pytest
import torch

from sightwords.errors import UnknownNameError
from sightwords.text.encoders import open_encoder
from sightwords.text.encoders.encoder import has_bf16, number_type


@pytest.mark.parametrize("identifier", ["minilm", "builtin:minlm", "st:", "openclip:", "", "clip:ViT-B-32"])
def test_an_unknown_kind_is_answered_with_the_known_ones(identifier):
    with pytest.raises(UnknownNameError, match=r"builtin:minilm, st:NAME_OR_FOLDER, openclip:MODEL/TAG_OR_CHECKPOINT"):
        open_encoder(identifier)


def test_precisions():
    assert [number_type(name) for name in ("fp32", "bf16", "fp16")] == [torch.float32, torch.bfloat16, torch.float16]


def test_bf16_is_what_the_processor_says(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False, "avx512_bf16": True})
    assert has_bf16(cpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False, "avx512_f": True})
    assert not has_bf16(cpu)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_bf16(cpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert has_bf16(torch.device("cuda"))
    assert not has_bf16(torch.device("mps"))
