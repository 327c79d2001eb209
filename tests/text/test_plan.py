"""Blocks and batches: every text once, like lengths together, within the limits, the same ones each time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from sightwords.errors import ModelError
from sightwords.text.encoders import TokenEncoder
from sightwords.text.encoders.encoder import EncoderInfo
from sightwords.text.plan import Batch, BatchRule, Counts, block_rows, num_blocks, prepare_block


class Words:
    """A token for each word and one special; only what planning needs."""

    def __init__(self, limit: int | None = 8) -> None:
        self.info = EncoderInfo("words", "words", "1", 2, limit, "fp32")

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1 + len(text.split()) for text in texts]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        raise AssertionError

    def cast(self, precision: str) -> Words:
        return self


class WordTokens(Words):
    """The same with tokens: a word's length."""

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array([0, *map(len, text.split())], np.int32) for text in texts]

    def encode_tokens(self, tokens: Sequence[np.ndarray]) -> np.ndarray:
        raise AssertionError


def _texts(count: int, longest: int = 30) -> list[str]:
    draw = np.random.default_rng(0)
    return [f"{i} " + "x " * int(draw.integers(0, longest)) for i in range(count)]


@pytest.mark.parametrize("encoder", [Words(), WordTokens(), Words(None)])
@pytest.mark.parametrize("rule", [BatchRule(50, 20, None), BatchRule(7, None, 3), BatchRule(1000, 1, None)])
def test_every_text_is_in_one_batch_with_all_its_pieces(encoder, rule):
    texts = _texts(120)
    blocks = [prepare_block(encoder, texts, n, rule) for n in range(num_blocks(len(texts), rule))]
    owners = np.concatenate([batch.owners for block in blocks for batch in block.batches])
    assert sorted(owners) == list(range(120))
    for block in blocks:
        rows = block_rows(block.number, len(texts), rule)
        assert [batch.number for batch in block.batches] == list(range(len(block.batches)))
        for batch in block.batches:
            assert all(rows.start <= owner < rows.stop for owner in batch.owners)
            pieces = np.split(np.array(batch.pieces, object), batch.starts[1:])
            for owner, parts in zip(batch.owners, pieces, strict=True):
                assert " ".join(" ".join(parts).split()) == " ".join(texts[owner].split())
            assert batch.num_tokens.tolist() == encoder.num_tokens(batch.pieces)
            assert (batch.tokens is not None) == isinstance(encoder, TokenEncoder)
            if batch.tokens is not None:
                assert [t.tolist() for t in batch.tokens] == [t.tolist() for t in encoder.tokenize(batch.pieces)]
    total = sum((block.counts for block in blocks), Counts())
    limit = encoder.info.max_tokens
    assert total.num_split == (sum(n > limit for n in encoder.num_tokens(texts)) if limit else 0)
    assert total.num_pieces == sum(len(batch.pieces) for block in blocks for batch in block.batches)
    assert total.num_tokens_cut == 0


def test_batches_keep_their_limits_and_hold_like_lengths():
    texts = _texts(200, 7)
    (by_tokens,) = [prepare_block(Words(), texts, 0, BatchRule(1000, 20, None)).batches]
    assert max(batch.num_tokens.sum() for batch in by_tokens) <= 20
    assert all(a.num_tokens.sum() + b.num_tokens[0] > 20 for a, b in itertools.pairwise(by_tokens))
    lengths = [count for batch in by_tokens for count in batch.num_tokens]
    assert lengths == sorted(lengths, reverse=True)
    (by_texts,) = [prepare_block(Words(), texts, 0, BatchRule(1000, None, 3)).batches]
    assert {len(batch.pieces) for batch in by_texts[:-1]} == {3}


def test_a_text_beyond_a_batch_is_a_batch_of_its_own():
    batches = prepare_block(Words(8), ["x " * 100, "y", "z"], 0, BatchRule(10, 20, None)).batches
    assert [batch.owners.tolist() for batch in batches] == [[0], [1, 2]]
    batches = prepare_block(Words(8), ["x " * 100, "y", "z"], 0, BatchRule(10, None, 2)).batches
    assert [batch.owners.tolist() for batch in batches] == [[0], [1, 2]]


def test_the_plan_is_the_same_each_time_and_one_block_is_that_of_many():
    texts, rule = _texts(100), BatchRule(30, 25, None)
    for number in range(4):
        one, other = (prepare_block(WordTokens(), texts, number, rule) for _ in range(2))
        assert one.counts == other.counts
        for a, b in zip(one.batches, other.batches, strict=True):
            assert all(
                np.array_equal(
                    np.concatenate(x) if f.name == "tokens" else x, np.concatenate(y) if f.name == "tokens" else y
                )
                for f in dataclasses.fields(Batch)
                for x, y in [(getattr(a, f.name), getattr(b, f.name))]
            )


def test_vectors_of_pieces_are_pooled_by_their_tokens():
    batch = Batch(0, np.array([5, 2]), np.array([0, 2]), ["a", "b", "c"], None, np.array([3, 1, 9]))
    found = batch.pooled(np.array([[2, 0], [0, 5], [0, 7]], np.float32))
    np.testing.assert_allclose(found, [[3 / 10**0.5, 1 / 10**0.5], [0, 1]], atol=1e-3)
    assert found.dtype == np.float16


def test_pieces_that_cancel_out_have_no_direction():
    batch = Batch(0, np.array([0]), np.array([0]), ["a", "b"], None, np.array([3, 3]))
    with pytest.raises(ModelError, match="not finite, or zero"):
        batch.pooled(np.array([[1, 0], [-1, 0]], np.float32))
