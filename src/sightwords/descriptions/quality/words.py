"""Counting words and finding whole sentences, in scripts with and without spaces."""

# ruff: noqa: RUF001

from __future__ import annotations

import re

# Scripts that put no spaces between words: kana and Han, and those of Thai, Lao, Burmese and Khmer.
HAN_AND_KANA = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
SOUTH_EAST_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_HAN_AND_KANA = re.compile(f"[{HAN_AND_KANA}]")
_SOUTH_EAST_ASIAN = re.compile(f"[{SOUTH_EAST_ASIAN}]")
_UNSPACED = re.compile(f"[{HAN_AND_KANA}{SOUTH_EAST_ASIAN}]+")
_WORD = re.compile(r"[^\W_]\S*")

_SENTENCE_END = re.compile(
    r"""[.!?…।॥؟۔]+["'”’»)\]]*(?=\s|\Z)"""  # scripts with spaces
    r"""|[。！？｡]+["'”’」』）]*"""
)
# A full stop after these, or after a single capital letter, does not end a sentence.
_BEFORE_STOP = re.compile(r"(?:\b(?:e\.g|i\.e|approx|mr|mrs|ms|dr|prof|st|vs|cf|ca)|(?<![^\W_])[A-Z])\Z", re.IGNORECASE)
_LONGEST_BEFORE_STOP = 8


def count_words(text: str) -> int:
    """Return the number of words of a text.

    Where a script puts no spaces between words, they are estimated: a Chinese or Japanese word is taken as one and a
    half characters, a Thai, Lao, Burmese or Khmer one as four. A run of signs without letter or digit is no word.
    """
    if text.isascii():
        return len(_WORD.findall(text))
    num_han_and_kana = len(_HAN_AND_KANA.findall(text))
    num_south_east_asian = len(_SOUTH_EAST_ASIAN.findall(text))
    spaced = _UNSPACED.sub(" ", text) if num_han_and_kana or num_south_east_asian else text
    return len(_WORD.findall(spaced)) + -(-2 * num_han_and_kana // 3) + -(-num_south_east_asian // 4)


def sentences(text: str) -> tuple[list[str], str]:
    """Return the whole sentences of a text with their marks at the end, and the unfinished rest."""
    found, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        if end[0] == "." and _is_abbreviation(text, end.start()):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    return found, text[start:].strip()


def whole_sentences(text: str, min_words: int) -> str:
    """Return a text without its unfinished last sentence; empty unless a sentence of `min_words` words is left."""
    found, rest = sentences(text)
    if not any(count_words(sentence) >= min_words for sentence in found):
        return ""
    return text[: len(text) - len(rest)].rstrip() if rest else text


def _is_abbreviation(text: str, stop: int) -> bool:
    before = text[max(0, stop - _LONGEST_BEFORE_STOP) : stop]
    match = _BEFORE_STOP.search(before)
    return match is not None and (len(match[0]) > 1 or match[0].isupper())
