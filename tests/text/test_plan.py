"""Pieces, blocks and batches: no word is lost, all fits, like lengths go together."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Sequence

import numpy as np
import pytest

from sightwords.errors import ModelError
from sightwords.text.encoders import EncoderInfo
from sightwords.text.plan import Batch, BatchRule, plan_block, split_text


def _words(texts: Sequence[str]) -> list[int]:
    """A token for each word and for each sign, and two special ones."""
    return [2 + len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


def _letters(texts: Sequence[str]) -> list[int]:
    return [2 + len(text.replace(" ", "")) for text in texts]


def _solid(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize(
    ("text", "limit", "count", "pieces"),
    [
        ("  One. Two.\n", 8, _words, "  One. Two.\n"),  # fits
        ('One. "Two three!" Six? Eight nine. Ten.', 10, _words, 'One. "Two three!"|Six? Eight nine. Ten.'),
        ("It is 3.5 cm. It is e.g.red now.", 11, _words, "It is 3.5 cm.|It is e.g.red now."),
        ("red head\nblue tail wing\ngreen", 6, _words, "red head|blue tail wing\ngreen"),
        ("red head, blue tail, green; round eyes. Short.", 8, _words, "red head, blue tail,|green; round eyes.|Short."),
        ("a b c d e f g", 5, _words, "a b c|d e f|g"),
        ("abcdefgh ij", 5, _letters, "abc|def|gh|ij"),
        ("红色的鸟。蓝色的尾巴。长", 8, _letters, "红色的鸟。|蓝色的尾巴。|长"),
        ("红色的鸟、蓝色的尾巴、长", 8, _letters, "红色的鸟、|蓝色的尾巴、|长"),
        ("\n \n" * 50, 20, lambda texts: [2 + len(text) for text in texts], ""),
    ],
)
def test_a_long_text_is_split_at_the_largest_units_that_fit(text, limit, count, pieces):
    assert split_text(text, limit, count) == pieces.split("|")


def test_pieces_that_do_not_fit_together_are_halved():
    def together(texts: Sequence[str]) -> list[int]:  # a token more for each seam, as byte-pair encodings may have
        return [2 + 2 * len(text.split()) - (1 if text else 0) for text in texts]

    pieces = split_text("a b c d e f g h", 7, together)
    assert max(together(pieces)) <= 7
    assert " ".join(pieces) == "a b c d e f g h"


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [_words, _letters])
def test_nothing_is_lost_and_all_fits(seed, count):
    draw = random.Random(seed)
    words = ["a", "bird", "extraordinarily", "3.5", "青い", "é"]
    signs = [*words, "…", ". ", "! ", ", ", "; ", "。", "、", "\n", "  ", " ", " ", "'s "]
    text = "".join(draw.choice(signs) for _ in range(draw.randint(1, 300)))
    limit = draw.randint(4, 40)
    pieces = split_text(text, limit, count)
    assert _solid("".join(pieces)) == _solid(text)
    assert max(count(pieces)) <= limit
    if len(pieces) > 1:
        assert all(piece == piece.strip() != "" for piece in pieces)


@pytest.mark.parametrize("loop", ["." * 100_000, ", " * 50_000, "x" * 50_000, "a\n" * 50_000, "。" * 50_000])
def test_a_describer_caught_in_a_loop_is_cut_in_linear_time(loop):
    text = f"{loop} end"
    start_s = time.process_time()
    pieces = split_text(text, 20, _letters if "x" in text else _words)
    assert time.process_time() - start_s < 10
    assert _solid("".join(pieces)) == _solid(text)


def test_a_limit_that_nothing_fits_is_an_error_of_ours():
    with pytest.raises(ModelError, match="2 tokens.*'a' alone"):
        split_text("a b", 2, _words)


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
    blocks = [plan_block(encoder, texts, block, rule) for block in range(-(-len(texts) // rule.block))]
    rows = np.concatenate([batch.rows for batches in blocks for batch in batches])
    assert sorted(rows) == list(range(120))
    for block, batches in enumerate(blocks):
        assert [(batch.block, batch.number) for batch in batches] == [(block, n) for n in range(len(batches))]
        for batch in batches:
            assert {row // rule.block for row in batch.rows} == {block}
            pieces = np.split(np.array(batch.pieces, object), batch.starts[1:])
            for row, parts in zip(batch.rows, pieces, strict=True):
                assert " ".join(" ".join(parts).split()) == " ".join(texts[row].split())
            assert batch.num_tokens.tolist() == encoder.num_tokens(batch.pieces)
            assert max(batch.num_tokens) <= (encoder.info.max_tokens or 1000)
            if isinstance(encoder, WordTokens):
                assert [t.tolist() for t in batch.tokens] == [t.tolist() for t in encoder.tokenize(batch.pieces)]


def test_batches_keep_their_limits_and_hold_like_lengths():
    texts = _texts(200, 7)
    by_tokens = plan_block(Words(), texts, 0, BatchRule(1000, 20, None))
    assert max(batch.num_tokens.sum() for batch in by_tokens) <= 20
    assert all(a.num_tokens.sum() + b.num_tokens[0] > 20 for a, b in itertools.pairwise(by_tokens))
    lengths = [count for batch in by_tokens for count in batch.num_tokens]
    assert lengths == sorted(lengths, reverse=True)
    by_texts = plan_block(Words(), texts, 0, BatchRule(1000, None, 3))
    assert {len(batch.pieces) for batch in by_texts[:-1]} == {3}


@pytest.mark.parametrize("rule", [BatchRule(10, 20, None), BatchRule(10, None, 2)])
def test_a_text_beyond_a_batch_is_a_batch_of_its_own(rule):
    assert [batch.rows.tolist() for batch in plan_block(Words(8), ["x " * 100, "y", "z"], 0, rule)] == [[0], [1, 2]]


def test_vectors_of_pieces_are_pooled_by_their_tokens():
    batch = Batch(0, 0, np.array([5, 2]), np.array([0, 2]), ["a", "b", "c"], None, np.array([3, 1, 9]))
    found = batch.pooled(np.array([[2, 0], [0, 5], [0, 7]], np.float32))
    np.testing.assert_allclose(found, [[3 / 10**0.5, 1 / 10**0.5], [0, 1]], atol=1e-3)
    assert found.dtype == np.float16


@pytest.mark.parametrize("found", [[[1, 0], [-1, 0]], [[np.nan, 0], [1, 0]], [[0, 0], [1, 0]], [[np.inf, 0], [1, 0]]])
def test_a_vector_without_a_direction_is_an_error(found):
    batch = Batch(0, 0, np.array([0]), np.array([0]), ["a", "b"], None, np.array([3, 3]))
    with pytest.raises(ModelError, match="not finite, or zero"):
        batch.pooled(np.array(found, np.float32))
