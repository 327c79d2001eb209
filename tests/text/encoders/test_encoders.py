"""Encoders by their ID: one file and one registry line each."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from sightwords.errors import ModelError, UnknownNameError
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import embed
from sightwords.text.encoders import ENCODERS, has_bf16, open_encoder, reopen_encoder

ONE_FILE = """
import numpy as np
from sightwords.text.encoders import EncoderInfo

class Lengths:
    def __init__(self, identifier, precision):
        self.info = EncoderInfo(identifier, "lengths", "1", 2, None, precision)

    def num_tokens(self, texts):
        return [len(text) for text in texts]

    def encode(self, texts):
        return np.array([[len(text), 1] for text in texts], np.float32)

    def cast(self, precision):
        return self

def open_lengths(identifier, device, precision, texts):
    return Lengths(identifier, precision)
"""


def test_an_encoder_is_one_file_and_one_line(descriptions, tmp_path, monkeypatch):
    (tmp_path / "lengths_encoder.py").write_text(ONE_FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(ENCODERS, "lengths:NAME", "lengths_encoder:open_lengths")
    result = embed(EmbedConfig(descriptions, out=tmp_path / "E", encoder="lengths:any", device="cpu"))
    assert (result.meta["encoder"], result.meta["dimension"], result.meta["num_vectors"]) == ("lengths:any", 2, 3)
    with pytest.raises(UnknownNameError, match="lengths:NAME"):
        open_encoder("length:any")
    del sys.modules["lengths_encoder"]


@pytest.mark.parametrize(
    "identifier",
    ["", "minilm", "builtin:minilm2", "st:", "openclip:", "clip:ViT-B-32", "builtin:words-0", "builtin:words-x"],
)
def test_an_unknown_id_is_answered_with_the_known_ones(identifier):
    with pytest.raises(UnknownNameError, match=r"builtin:minilm.*st:NAME_OR_FOLDER, openclip:MODEL/TAG_OR_CHECKPOINT"):
        open_encoder(identifier)


def test_an_encoder_is_reopened_with_its_own_weights_alone(tiny_st):
    encoder = open_encoder(f"st:{tiny_st}", "cpu")
    again = reopen_encoder(f"st:{tiny_st}", encoder.info.revision, device="cpu")
    np.testing.assert_array_equal(again.encode(["a red bird"]), encoder.encode(["a red bird"]))
    with pytest.raises(ModelError, match="other weights"):
        reopen_encoder(f"st:{tiny_st}", "0" * 64, device="cpu")


def test_bf16_is_what_the_processor_says(monkeypatch):
    for capabilities, expected in (({"amx_bf16": False, "avx512_bf16": True}, True), ({"avx512_f": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert has_bf16("cpu") == expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_bf16("cpu")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert has_bf16("cuda")
    assert not has_bf16("mps")
