"""The whole verdict: order of the checks, reasons, cut answers, time."""

# ruff: noqa: RUF001

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from sightwords.descriptions.quality import Rules, Verdict, judge
from sightwords.errors import ConfigError

GOOD = "A small bird with a red crest sits on a bare branch."
USABLE = Path(__file__).with_name("usable.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<think>Hm, a bird?", "empty"),
        ("Sure! Description:", "empty"),
        ("Bird.", "too short (under 2 words)"),
        ("...", "too short (under 2 words)"),
        (" ".join(f"word{number}" for number in range(401)), "too long (over 400 words)"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("A bird sits. " * 40, "repetition"),
        ("the " * 1000, "repetition"),
        ("Ein kleiner Vogel mit rotem Gefieder sitzt auf einem kahlen Ast.", "not in English"),
        ("一只红色的鸟站在树枝上。", "not in English"),
        ("This is not a cardinal.", "contradicts the label"),
        ("This appears to be a blue jay.", "contradicts the label"),
    ],
)
def test_rejected(text, reason):
    verdict = judge(text, Rules(), "cardinal", ("blue jay", "robin"))
    assert (verdict.status, verdict.reason) == ("rejected", reason)


def test_accepted_text_is_clean():
    assert judge("The image shows **a bird**.", Rules()) == Verdict("A bird.", "ok", "")
    assert judge(GOOD, Rules(), "cardinal", ("blue jay",)) == Verdict(GOOD, "ok", "")


def test_rejected_text_is_clean_too():
    assert judge("**Bird**", Rules()).text == "Bird"


@pytest.mark.parametrize("text", USABLE)
def test_usable(text):
    assert judge(text, Rules(), "cardinal", ("blue jay", "robin", "passport")).status == "ok"


@pytest.mark.parametrize(
    ("text", "on_cut", "verdict"),
    [
        (f"{GOOD} It has", "trim", Verdict(GOOD, "ok", "cut at 256 tokens, last sentence dropped")),
        (
            f"{GOOD}\n- red crest\n- black ma",
            "trim",
            Verdict(f"{GOOD} red crest.", "ok", "cut at 256 tokens, last sentence dropped"),
        ),
        (GOOD, "trim", Verdict(GOOD, "ok", "cut at 256 tokens, after a sentence")),
        (GOOD[:-1], "trim", Verdict(GOOD[:-1], "rejected", "cut at 256 tokens")),
        ("Bird. It has", "trim", Verdict("Bird. It has", "rejected", "cut at 256 tokens")),
        (f"{GOOD} It has", "reject", Verdict(f"{GOOD} It has", "rejected", "cut at 256 tokens")),
        ("<think>Hm, a bird", "trim", Verdict("", "rejected", "empty, cut at 256 tokens")),
        (
            "I'm sorry, but I can't help with",
            "trim",
            Verdict("I'm sorry, but I can't help with", "rejected", "refusal"),
        ),
    ],
)
def test_cut(text, on_cut, verdict):
    assert judge(text, Rules(on_cut=on_cut), cut_at=256) == verdict


def test_rules_of_a_cut_answer_hold_for_what_is_left():
    assert judge("Ein Vogel sitzt auf einem kahlen Ast. Er", Rules(), cut_at=9).reason == "not in English"
    assert judge(f"{GOOD} It", Rules(max_words=5), cut_at=9).reason == "too long (over 5 words)"
    assert judge("This is not a cardinal. It", Rules(), "cardinal", cut_at=9).reason == "contradicts the label"


def test_limits_are_inclusive():
    rules = Rules(min_words=3, max_words=4)
    words = ["one", "two words", "three words here", "four words are here", "five words are here too"]
    assert [judge(text, rules).status for text in words] == ["rejected", "rejected", "ok", "ok", "rejected"]


def test_any_language():
    text = "Ein kleiner Vogel mit rotem Gefieder sitzt auf einem kahlen Ast."
    assert judge(text, Rules(language="any")).status == "ok"
    assert judge(text, Rules(language="de")).status == "ok"
    assert judge(GOOD, Rules(language="de")).reason == "not in German"
    assert judge("一只红色的鸟站在树枝上。", Rules(language="zh")) == Verdict("一只红色的鸟站在树枝上。", "ok", "")


def test_reasons_hold_nothing_of_the_answer():
    bad = [
        "",
        "Vogel",
        "x " * 900,
        "Sorry, I can't see the image 17.",
        "Ein Vogel sitzt auf einem kahlen Ast im Winter.",
    ]
    for text in bad:
        assert re.fullmatch(r"[a-zE -]+(\((?:under 2|over 400) words\))?", judge(text, Rules()).reason)


def test_rules_that_cannot_hold_are_refused():
    with pytest.raises(ConfigError, match="xx"):
        Rules(language="xx")
    with pytest.raises(ConfigError):
        Rules(min_words=5, max_words=4)


@pytest.mark.parametrize(
    "text",
    [
        " ".join(random.Random(0).choices(USABLE, k=8_000)),
        "the " * 500_000,
        "a" * 500_000,
        "的" * 500_000,
        "This is not " * 40_000,
        "I'm sorry " * 40_000,
        "it is a " * 50_000,
        '"' * 500_001,
        "'a " * 150_000,
        "no image " * 50_000,
    ],
    ids=lambda text: repr(text[:16]),
)
def test_linear_time(text):
    rules = Rules(max_words=10_000_000)
    start_s = time.perf_counter()
    judge(text, rules, "cardinal", ("blue jay", "robin"))
    judge(text, rules, "cardinal", ("blue jay", "robin"), cut_at=256)
    assert time.perf_counter() - start_s < 10


def test_nothing_in_random_bytes_raises():
    rng = random.Random(1)
    pieces = [
        "*", "_", "`", "#", "|", "[", "](", ")", "<", ">", "\n", "- ", "1. ", '"', "'", "’", "“", "<think>", "</think>",
        "<|", "|>", "the image shows ", "Sure! ", "a ", "bird", "不", "\ud83d", "\u0301", "&amp;", "\\", "。", ". ",
        "not ", "this is ", "I cannot ", "It looks like ",
    ]  # fmt: skip
    for _ in range(3_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(25)))
        for cut_at in (None, 9):
            verdict = judge(text, Rules(), "bird", ("robin",), cut_at=cut_at)
            assert verdict.status in ("ok", "rejected")
            assert (verdict.status == "rejected") <= bool(verdict.reason)
            verdict.text.encode()


def test_keep_takes_a_cut_answer_as_it_is():
    rules = Rules(on_cut="keep")
    assert judge("A red bird on a branch. It has a", rules, cut_at=9) == Verdict(
        "A red bird on a branch. It has a", "ok", "cut at 9 tokens"
    )
    assert judge("bird", rules, cut_at=9).reason == "too short (under 2 words)"
