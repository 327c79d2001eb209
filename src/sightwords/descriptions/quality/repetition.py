"""Whether a model got caught in a loop and wrote the same again and again."""

# ruff: noqa: RUF001

from __future__ import annotations

import re
from collections import Counter

from sightwords.descriptions.quality.words import HAN_AND_KANA

_HAN_OR_KANA = re.compile(f"[{HAN_AND_KANA}]")
_STOP = re.compile("[.!?。！？।]")
_END = re.compile(r"[\W_]+\Z")

# A loop at the end: at least three rounds and this many characters, of which Han and kana need a third; or at least
# four rounds that make up half of the text. `Stripes in red, white, red, white` is none.
_MIN_ROUNDS = 3
_MIN_LOOP_CHARS = 60
_MIN_ROUNDS_OF_HALF = 4
_PROBE_CHARS = 12
_MAX_PROBES = 100

_MIN_TRIGRAM_TOKENS = 24
_MIN_DISTINCT_TRIGRAMS = 0.5
_MIN_SAME_TRIGRAMS = 8
_MAX_SHARE_OF_ONE = 1 / 6


def is_repetitive(text: str) -> bool:
    """Return whether a cleaned answer ends in a loop, or mostly says the same again; takes linear time."""
    folded = _END.sub("", text[-200:].casefold())
    folded = text[:-200].casefold() + folded
    return ends_in_loop(folded) or repeats_sentences(text) or repeats_phrases(folded)


def ends_in_loop(text: str) -> bool:
    """Return whether the end of a text has a period, of any length.

    The last few characters are looked for further ahead: the distance is a period if the end, moved by it, equals
    itself. Only a few places have to be tried, and each costs one comparison of memory.
    """
    num_chars = len(text)
    num_probe = min(_PROBE_CHARS, num_chars // _MIN_ROUNDS_OF_HALF)
    if num_probe < 2:
        return False
    min_chars = _MIN_LOOP_CHARS // 3 if _HAN_OR_KANA.search(text[-num_probe:]) else _MIN_LOOP_CHARS
    probe, place = text[-num_probe:], num_chars - num_probe
    for _ in range(_MAX_PROBES):
        place = text.rfind(probe, 0, place + num_probe - 1)
        period = num_chars - num_probe - place
        if place < 0 or period * _MIN_ROUNDS > num_chars:
            return False
        if _has_period(text, period, max(period * _MIN_ROUNDS, min_chars)):
            return True
        if _has_period(text, period, max(period * _MIN_ROUNDS_OF_HALF, -(-num_chars // 2))):
            return True
    return False


def repeats_sentences(text: str) -> bool:
    """Return whether a sentence of three words or more comes four times, or three times and makes up half of all."""
    parts = [part.strip() for part in _STOP.split(text.casefold())]
    if len(parts) < _MIN_ROUNDS:
        return False
    sentence, number = Counter(filter(None, parts)).most_common(1)[0] if any(parts) else ("", 0)
    is_long = sentence.count(" ") > 1 or (len(sentence) > 4 and _HAN_OR_KANA.match(sentence) is not None)
    return is_long and (number > _MIN_ROUNDS or (number == _MIN_ROUNDS and number * 2 >= sum(map(bool, parts))))


def repeats_phrases(text: str) -> bool:
    """Return whether the runs of three words (of three characters in Han and kana) mostly come again.

    Fewer than half of them are distinct, or one comes eight times and makes up a sixth, as a loop does that ended.
    """
    tokens = text.split()
    if len(text) > 8 * len(tokens) and 2 * len(_HAN_OR_KANA.findall(text)) > len(text):
        tokens = list(text)
    if len(tokens) < _MIN_TRIGRAM_TOKENS:
        return False
    trigrams = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False))
    num_trigrams, most = len(tokens) - 2, max(trigrams.values())
    if most >= _MIN_SAME_TRIGRAMS and most >= _MAX_SHARE_OF_ONE * num_trigrams:
        return True
    return len(trigrams) < _MIN_DISTINCT_TRIGRAMS * num_trigrams


def _has_period(text: str, period: int, num_chars: int) -> bool:
    start = len(text) - num_chars
    return start >= 0 and text[start : len(text) - period] == text[start + period :]
