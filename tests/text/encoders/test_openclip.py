"""Text towers of open_clip, from checkpoints that the tests build."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from sightwords.errors import ConfigError, MissingExtraError, ModelError, UnknownNameError
from sightwords.text.encode import encode_texts
from sightwords.text.encoders import open_encoder
from sightwords.text.encoders.openclip import _num_tokens

TEXTS = ["A red bird.", "two blue leaves near the water", "Ünusual &amp; words"]
LONG = "A red bird with a long tail sits in a tall tree. It sings, loudly and clearly, from dawn to dusk every day."


@pytest.fixture
def encoder(tiny_clip):
    return open_encoder(f"openclip:sightwords-tiny/{tiny_clip / 'model.pt'}", "cpu")


def test_vectors_are_those_of_the_library_however_the_model_is_named(tiny_clip, encoder, monkeypatch):
    import open_clip

    monkeypatch.chdir(tiny_clip)
    model = open_clip.create_model("sightwords-tiny", pretrained=str(tiny_clip / "model.pt")).eval()
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("sightwords-tiny")(TEXTS), normalize=True).numpy()
    assert np.abs(expected[0] - expected[1]).max() > 0.05
    names = (
        "sightwords-tiny/model.pt",
        f"sightwords-tiny/../{tiny_clip.name}/model.pt",
        f"local-dir:{tiny_clip / 'local'}",
    )
    for one in (encoder, *(open_encoder(f"openclip:{name}", "cpu") for name in names)):
        np.testing.assert_allclose(encode_texts(one, TEXTS, 2).astype(np.float32), expected, atol=1e-3)
        assert (one.info.dimension, one.info.max_tokens, one.info.revision) == (24, 16, encoder.info.revision)
        assert not any(
            name.startswith("visual") for name, _ in one._model.named_parameters()
        )  # the image tower is freed


def test_every_word_of_a_long_text_reaches_the_network(encoder):
    tokenizer, seen = encoder._tokenizer, []
    encode_text = encoder._model.encode_text
    encoder._model.encode_text = lambda tokens: (seen.extend(tokens.tolist()), encode_text(tokens))[1]
    encode_texts(encoder, [LONG, "a bird"], 8)
    special = {0, tokenizer.sot_token_id, tokenizer.eot_token_id}
    tokens = [token for row in seen for token in row if token not in special]
    assert sorted(tokens) == sorted([*tokenizer.encode(LONG), *tokenizer.encode("a bird")])
    assert all(row[0] == tokenizer.sot_token_id and tokenizer.eot_token_id in row for row in seen)
    assert len(seen) > 2


def test_tokens_are_counted_as_the_tokenizer_makes_them(tiny_clip, tiny_st):
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    texts = [*TEXTS, LONG, ""]
    for tokenizer, padding in ((SimpleTokenizer(context_length=99), 0), (HFTokenizer(str(tiny_st), 99), 0)):
        made = (tokenizer(texts) != padding).sum(1).tolist()
        assert _num_tokens(tokenizer, texts) == made


def test_low_precision(encoder):
    low, b = open_encoder(encoder.info.identifier, "cpu", "bf16"), encoder.encode(TEXTS)
    a, cast = low.encode(TEXTS), encoder.cast("bf16")
    assert a.dtype == np.float32
    np.testing.assert_array_equal(cast.encode(TEXTS), a)
    np.testing.assert_array_equal(encoder.encode(TEXTS), b)  # the one that was cast stays as it is
    assert (low.info.precision, cast.info.precision, encoder.info.precision) == ("bf16", "bf16", "fp32")
    assert ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min() > 0.99


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("ViT-B-33/openai", UnknownNameError, "open_clip model 'ViT-B-33'.*ViT-B-32"),
        ("ViT-B-32/opnai", UnknownNameError, "weights of ViT-B-32 'opnai'.*openai.*//absolute/path.pt"),
        ("ViT-B-32", UnknownNameError, "weights of ViT-B-32 ''"),
        ("ViT-B-32//no/such/file.pt", UnknownNameError, "weights of ViT-B-32 '/no/such/file.pt'"),
        ("local-dir:/no/such/folder", ConfigError, "names no folder"),
        ("ViT-B-32/openai", ModelError, "Cannot load the encoder openclip:ViT-B-32/openai.*builtin:minilm"),
        ("hf-hub:no/such", ModelError, "Cannot load the encoder openclip:hf-hub:no/such"),
    ],
)
def test_what_cannot_be_had_is_said(tiny_clip, name, error, message):
    with pytest.raises(error, match=message):
        open_encoder(f"openclip:{name}", "cpu")


def test_a_folder_without_weights_and_a_checkpoint_of_another_model_are_refused(tiny_clip, tmp_path):
    (tmp_path / "open_clip_config.json").write_text((tiny_clip / "local" / "open_clip_config.json").read_text())
    with pytest.raises(ModelError, match="could not be loaded"):
        open_encoder(f"openclip:local-dir:{tmp_path}", "cpu")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="Cannot load"):
        open_encoder(f"openclip:sightwords-tiny/{tmp_path / 'other.pt'}", "cpu")


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r"sightwords\[openclip\]"):
        open_encoder("openclip:ViT-B-32/openai", "cpu")
