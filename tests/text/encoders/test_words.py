"""`builtin:words`: vectors that say which words a text has."""

from __future__ import annotations

import math
import random
import sys
from dataclasses import replace

import numpy as np
import pytest

from sightwords.descriptions.schema import Description
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import embed as run
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.text.encoders import TokenEncoder, open_encoder, reopen_encoder
from sightwords.text.encoders.words import NO_WORD, count_words, words_of

TEXTS = ["A red bird, a red tail.", "A blue bird on a tree", "a BLUE stone!", "A tree; a stone", "a ..."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red-billed bird's tail, 2nd_one.", "a red billed bird s tail 2nd one"),
        ("Grüne Füße: ΟΔΟΣ, żółw Ёж", "grüne füße οδος żółw ёж"),
        ("cafe\u0301 \uff22\uff29\uff32\uff24 \ufb01sh", "café bird fish"),
        ("红鸟 on ひと 2台", "红 鸟 on ひ と 2 台"),
        ("... !? \u2014 \n", ""),
    ],
)
def test_words_are_runs_of_letters_and_digits_in_any_script(text, words):
    assert words_of(text) == set(words.split())


def test_the_vocabulary_is_what_several_texts_have_and_not_all():
    found = count_words(TEXTS, 10)
    # "a" is in all texts, "red", "tail" and "on" in one; words that as many texts have come by their letters
    assert found.vocabulary == ["bird", "blue", "stone", "tree", NO_WORD]
    assert (found.num_texts_with_word, found.num_texts) == ([2, 2, 2, 2, 1], 5)
    assert count_words([*TEXTS, "a stone", "a bird stone"], 2).vocabulary == ["stone", "bird", NO_WORD]
    assert count_words(TEXTS[:4], 10).vocabulary == ["bird", "blue", "stone", "tree"]


def test_a_row_is_the_idf_of_the_words():
    encoder = open_encoder("builtin:words", "cpu", "fp32", TEXTS)
    frequent, rare = math.log(6 / 3), math.log(6 / 2)
    expected = [
        [frequent, 0, 0, 0, 0],
        [frequent, frequent, 0, frequent, 0],
        [0, frequent, frequent, 0, 0],
        [0, 0, frequent, frequent, 0],
        [0, 0, 0, 0, rare],
    ]
    found = encoder.encode(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert isinstance(encoder, TokenEncoder)
    assert encoder.num_tokens(TEXTS) == [len(tokens) for tokens in encoder.tokenize(TEXTS)] == [1, 3, 2, 2, 1]


def test_rows_do_not_depend_on_the_order_of_the_texts():
    draw = random.Random(0)
    texts = sorted({" ".join(draw.choices("abcdefghijklmnop", k=draw.randint(1, 5))) for _ in range(200)})
    shuffled = draw.sample(texts, len(texts))
    one, other = (open_encoder("builtin:words-8", "cpu", "fp32", given) for given in (texts, shuffled))
    assert one.info == other.info
    assert one.info.dimension in (8, 9)
    assert np.array_equal(one.encode(shuffled), other.encode(shuffled))
    assert open_encoder("builtin:words-8", "cpu", "fp32", texts[1:]).info.revision != one.info.revision


def test_there_is_no_precision_to_choose():
    assert (encoder := open_encoder("builtin:words", "cpu", "fp32", TEXTS)).cast("bf16") is encoder
    with pytest.raises(ConfigError, match="--precision is bf16.*Leave --precision out"):
        open_encoder("builtin:words", "cpu", "bf16", TEXTS)


@pytest.mark.parametrize("texts", [["a bird"], ["a red bird", "one tree"], ["a bird!", "A bird"]])
def test_texts_without_common_words_are_refused(texts):
    with pytest.raises(ConfigError, match=f"None of the words of {len(texts)} distinct texts"):
        open_encoder("builtin:words", "cpu", "fp32", texts)


@pytest.fixture
def words_config(descriptions, tmp_path) -> EmbedConfig:
    with DescriptionSet(descriptions) as store:
        store.put(
            [Description(f"{i:064d}", 1, 1, 0, text) for i, text in enumerate([*TEXTS, *map(_text, range(60)), "..."])]
        )
    return EmbedConfig(descriptions, out=tmp_path / "W", encoder="builtin:words-16", device="cpu")


def _text(number: int) -> str:
    return f"bird {number % 7} on tree {number % 11} and {number}"


def test_the_set_holds_unit_rows_and_its_vocabulary(words_config):
    result = run(words_config)
    found = EmbeddingSet(words_config.out)
    words = found.meta["words"]
    assert (found.meta["encoder"], found.meta["dimension"], words["vocabulary"][-1]) == (
        "builtin:words-16",
        17,
        NO_WORD,
    )
    vectors = found.vectors.astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    # from the file alone
    idf = np.log((1 + words["num_texts"]) / (1 + np.array(words["num_texts_with_word"])))
    rows = {entry["key"]: entry["row"] for entry in found.index().to_pylist()}
    has = np.isin(words["vocabulary"], sorted(words_of(_text(9))))
    expected = idf * has / np.linalg.norm(idf * has)
    np.testing.assert_allclose(vectors[rows[f"{len(TEXTS) + 9:064d}"]], expected, atol=1e-3)
    assert "builtin:words-16, 17 numbers each" in result.summary()
    assert run(words_config).skipped
    again = reopen_encoder("builtin:words-16", found.meta["revision"], words)
    np.testing.assert_allclose(again.encode([_text(9)])[0] / np.linalg.norm(idf * has), expected, atol=1e-3)
    with DescriptionSet(words_config.descriptions) as store:
        store.put([Description("f" * 64, 1, 1, 0, "a yellow bird and a yellow tree")])
    assert not run(words_config).skipped


def test_a_cluster_is_refused_before_it_is_asked(words_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "sightwords.text.cluster", None)
    with pytest.raises(ConfigError, match="builtin:words-16 is made of all texts.*--engine local"):
        run(replace(words_config, engine="ray"))
