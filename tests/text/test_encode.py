"""Batches, pooling and means, with an encoder whose vectors can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sightwords.errors import ModelError
from sightwords.text.encode import LocalEngine, encode_texts, mean_vector
from sightwords.text.encoders.encoder import EncoderInfo
from sightwords.text.journal import MemoryStore
from sightwords.text.plan import Counts

AXES = {"red": 0, "blue": 1, "green": 2}


class Counting:
    """Counts words: a text's vector is how often it has each color, times 7; a token a word and one special."""

    def __init__(self, max_tokens: int | None = 6) -> None:
        self.info = EncoderInfo("counting", "counting", "1", 3, max_tokens, "fp32")
        self.batches: list[list[str]] = []

    def cast(self, precision: str) -> Counting:
        return self

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1 + len(text.split()) for text in texts]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.batches.append(list(texts))
        assert self.info.max_tokens is None or max(self.num_tokens(texts)) <= self.info.max_tokens
        vectors = np.zeros((len(texts), 3), np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, AXES[word]] += 7
        return vectors


def test_vectors_are_in_order_and_of_length_one():
    found = encode_texts(Counting(), ["red", "red blue", "green green"], 2, show=False)
    expected = np.array([[1, 0, 0], [0.5**0.5, 0.5**0.5, 0], [0, 0, 1]])
    np.testing.assert_allclose(found.vectors, expected, atol=1e-3)
    assert found.vectors.dtype == np.float16
    assert found.counts == Counts(num_split=0, num_pieces=3, num_tokens_total=8, num_tokens_cut=0)


def test_pieces_are_pooled_by_their_numbers_of_tokens():
    encoder = Counting()
    found = encode_texts(encoder, ["green", "red red red red blue blue blue"], 10, show=False)
    pieces = [text for batch in encoder.batches for text in batch]
    assert sorted(pieces) == ["blue blue", "green", "red red red red blue"]
    first, second = np.array([4, 1, 0]) / 17**0.5, np.array([0, 1, 0])
    pooled = 6 * first + 3 * second  # five words and a special token; two words and a special token
    np.testing.assert_allclose(found.vectors[1], pooled / np.linalg.norm(pooled), atol=1e-3)
    assert found.counts == Counts(num_split=1, num_pieces=3, num_tokens_total=2 + 6 + 3)


def test_without_a_limit_nothing_is_split():
    encoder = Counting(max_tokens=None)
    assert encode_texts(encoder, ["red " * 50], 10, show=False).counts.num_split == 0
    assert encoder.batches == [["red " * 50]]


def test_batches_hold_texts_of_like_length():
    encoder = Counting()
    texts = ["red", "blue blue blue", "green", "red blue", "red red red red", "blue"]
    encode_texts(encoder, texts, 2, show=False)
    assert encoder.batches == [["red red red red", "blue blue blue"], ["red blue", "red"], ["green", "blue"]]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_size_of_a_batch_changes_nothing(batch_size):
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(list(AXES), draw.integers(1, 20))) for _ in range(40)]
    expected = encode_texts(Counting(), texts, 7, show=False)
    found = encode_texts(Counting(), texts, batch_size, show=False)
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert found.counts == expected.counts


class _Reversing:
    """An engine that returns batches in the opposite order, as a cluster may."""

    def __init__(self, encoder: Counting) -> None:
        self._encoder = encoder

    def encode(self, batches):
        return reversed([(batch, self._encoder.encode(batch.pieces)) for batch in batches])


def test_the_engine_may_return_batches_in_any_order(monkeypatch):
    monkeypatch.setattr("sightwords.text.encode._CPU_BLOCK", 7)
    texts = [f"{'red ' * (i % 9)}blue {'green ' * (i % 4)}" for i in range(40)]
    expected = encode_texts(Counting(), texts, 3, show=False)
    found = encode_texts(Counting(), texts, 3, show=False, engine=_Reversing(Counting()))
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert found.counts == expected.counts == encode_texts(Counting(), texts, 9, show=False).counts


class _Half(MemoryStore):
    """A store that has the first block, and of the second the first batch."""

    def block(self, number):
        return Counts(0, 4, 100, 0) if number == 0 else None

    def has(self, block, batch, rows):
        return (block, batch) == (1, 0)


def test_what_the_store_has_is_not_encoded_again_and_does_not_count_towards_the_rate(monkeypatch, capsys):
    monkeypatch.setattr("sightwords.text.encode._CPU_BLOCK", 4)
    encoder, texts = Counting(), ["red", "blue", "green", "red red", "blue blue", "red blue green", "green green red"]
    found = encode_texts(encoder, texts, 2, store=_Half(7, 3))
    assert encoder.batches == [["blue blue"]]
    assert found.counts == Counts(0, 7, 100 + 3 + 4 + 4, 0)
    np.testing.assert_allclose(found.vectors[4], [0, 1, 0])
    assert not found.vectors[[0, 1, 2, 3, 5, 6]].any()
    length = sum(map(len, texts))
    assert f"Embedding: {length}/{length} characters" in capsys.readouterr().err


def test_batches_are_those_of_the_given_engine_alone():
    encoder = Counting()
    with LocalEngine(encoder) as engine:
        encode_texts(encoder, ["red", "blue"], 1, show=False, engine=engine)
    assert encoder.batches == [["red"], ["blue"]]


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_vector_without_direction_is_an_error(value):
    encoder = Counting()
    encoder.encode = lambda texts: np.full((len(texts), 3), value, np.float32)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="not finite, or zero"):
        encode_texts(encoder, ["red"], 4, show=False)


def test_mean_counts_descriptions_and_not_texts():
    vectors = np.array([[1, 0], [0, 1]], np.float16)
    np.testing.assert_allclose(mean_vector(vectors, np.array([0, 0, 1, 0])), [0.75, 0.25])
    many = np.random.default_rng(0).normal(size=(9000, 2))
    rows = np.random.default_rng(1).integers(0, 9000, 20_000)
    np.testing.assert_allclose(mean_vector(many, rows), many[rows].mean(0), atol=1e-6)
