"""Long texts in pieces: each fits, none is larger than need be, and no character is lost."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence

import pytest

from sightwords.errors import ModelError
from sightwords.text.plan import split_text


def _words(texts: Sequence[str]) -> list[int]:
    """A token for each word and for each sign, and two special ones."""
    return [2 + len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


def _letters(texts: Sequence[str]) -> list[int]:
    return [2 + len(text.replace(" ", "")) for text in texts]


def _solid(text: str) -> str:
    return "".join(text.split())


def test_a_text_that_fits_is_left_as_it_is():
    assert split_text("  One. Two.\n", 8, _words) == ["  One. Two.\n"]


def test_sentences_stay_whole_and_pieces_are_filled():
    text = 'One two three. "Four five!" Six? Seven eight nine ten. Eleven.'
    assert split_text(text, 12, _words) == ['One two three. "Four five!"', "Six? Seven eight nine ten. Eleven."]


def test_a_full_stop_inside_a_number_or_name_ends_no_sentence():
    assert split_text("It is 3.5 cm. It is e.g.red now.", 11, _words) == ["It is 3.5 cm.", "It is e.g.red now."]


def test_a_line_end_ends_a_sentence():
    text = "red head\nblue tail wing\ngreen"
    assert split_text(text, 6, _words) == ["red head", "blue tail wing\ngreen"]


def test_a_long_sentence_falls_into_clauses():
    text = "red head, blue tail, green wings; round eyes. Short."
    assert split_text(text, 8, _words) == ["red head, blue tail,", "green wings; round eyes.", "Short."]


def test_a_long_clause_falls_into_words():
    assert split_text("a b c d e f g", 5, _words) == ["a b c", "d e f", "g"]


def test_a_long_word_falls_into_characters():
    assert split_text("abcdefgh ij", 5, _letters) == ["abc", "def", "gh", "ij"]


def test_text_without_spaces_is_parted_at_its_own_stops():
    assert split_text("红色的鸟。蓝色的尾巴。长", 8, _letters) == ["红色的鸟。", "蓝色的尾巴。", "长"]
    wide = "红色的鸟、蓝色的尾巴、长"
    assert split_text(wide, 8, _letters) == ["红色的鸟、", "蓝色的尾巴、", "长"]


def test_pieces_that_do_not_fit_together_are_halved():
    def together(texts: Sequence[str]) -> list[int]:  # a token more for each seam, as byte-pair encodings may have
        return [2 + 2 * len(text.split()) - (1 if text else 0) for text in texts]

    pieces = split_text("a b c d e f g h", 7, together)
    assert max(together(pieces)) <= 7
    assert " ".join(pieces) == "a b c d e f g h"


@pytest.mark.parametrize("seed", range(30))
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


@pytest.mark.parametrize(
    "loop", ["." * 100_000, ", " * 50_000, "so " * 80_000, "x" * 50_000, "a\n" * 50_000, "。" * 50_000]
)
def test_a_describer_caught_in_a_loop_is_cut_in_linear_time(loop):
    text = f"{loop} end"
    start_s = time.perf_counter()
    pieces = split_text(text, 20, _letters if "x" in text else _words)
    assert time.perf_counter() - start_s < 10
    assert _solid("".join(pieces)) == _solid(text)


def test_white_space_alone_is_one_empty_piece():
    assert split_text("\n \n" * 50, 20, lambda texts: [2 + len(text) for text in texts]) == [""]


def test_a_limit_that_nothing_fits_is_an_error_of_ours():
    with pytest.raises(ModelError, match="takes 2 tokens, but 'a' alone has more"):
        split_text("a b", 2, _words)
