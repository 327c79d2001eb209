"""The filter: what is taken off an answer, what must stay, and which answers are rejected."""

# ruff: noqa: RUF001

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from sightwords.descriptions.config import FilterRules
from sightwords.descriptions.filter import (
    FilterResult,
    clean,
    count_words,
    filter_answer,
    is_other_language,
    is_repetitive,
)
from sightwords.errors import ConfigError

BIRD = "A red bird sits on a branch."
GOOD = "A small bird with a red crest sits on a bare branch."
USABLE = Path(__file__).with_name("usable.txt").read_text(encoding="utf-8").splitlines()
FOREIGN = [
    line.split("\t") for line in Path(__file__).with_name("foreign.txt").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        # reasoning
        (f"<think>\nIt may be a finch.\n</think>\n\n{BIRD}", BIRD),
        (f"◁think▷Hm.◁/think▷{BIRD}", BIRD),
        (f"<|START_THINKING|>Hm.<|END_THINKING|>{BIRD}", BIRD),
        (f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{BIRD}", BIRD),
        (f"It may be a finch.\n</think>\n{BIRD}", BIRD),
        (f"<think>one <think>two</think> three</think>{BIRD}", BIRD),
        ("<think>It may be a finch, or", ""),
        # tokens of the chat format
        (f"<s> {BIRD}</s>", BIRD),
        (f"<|im_start|>assistant\n{BIRD}<|im_end|>\n<|im_start|>user\nAnd this?<|im_end|>", BIRD),
        (f"{BIRD}\nUser: And what is this?\nAssistant: A dog.", BIRD),
        ("▁A▁red▁bird▁sits▁on▁a▁branch.", BIRD),
        # stock phrases
        ("The image shows a man's watch.", "A man's watch."),
        ("In this picture, we can see a red bird.", "A red bird."),
        ("Sure! Here is a detailed description of the image:\n\nThe image shows a red bird.", "A red bird."),
        ("**Description:** a red bird.", "A red bird."),
        ("## Image Description\n\nThe image features two red birds.", "Two red birds."),
        ("This is an image of a red bird.", "A red bird."),
        ("Caption: iPhone on a desk.", "iPhone on a desk."),
        (f"{BIRD}\n\nI hope this helps! Let me know if you have any questions. 😊", BIRD),
        (f"{BIRD} If you’d like a shorter version, let me know.", BIRD),
        # markdown
        ("**A red bird** sits on a *bare* branch.", "A red bird sits on a bare branch."),
        ("Features:\n* Red crest\n* Black mask;\n* Orange beak.", "Features: Red crest. Black mask; Orange beak."),
        ("1. Red crest\n2. Black mask", "Red crest. Black mask."),
        ("- **Crest:** red\n  - pointed\n- **Mask:** black", "Crest: red. pointed. Mask: black."),
        ("• Red crest\n• Black mask", "Red crest. Black mask."),
        ("Crest: red\nMask: black", "Crest: red. Mask: black"),
        ("A [red bird](https://example.org/bird) sits.", "A red bird sits."),
        ("| Crest | red |\n|---|---|\n| Mask | black |", "Crest. red. Mask. black."),
        ("<p>A red bird &amp; a branch.</p>", "A red bird & a branch."),
        ("A red bird\nsits on a branch.", BIRD),
        # quotation marks, white space, and what no UTF-8 file can hold
        ("“The image shows a red bird.”", "A red bird."),
        ("  A   red\tbird.\u00a0\n", "A red bird."),
        ("A red\x00 bird\ud83d.\ufffd", "A red bird."),
    ],
)
def test_taken_off(raw, cleaned):
    assert clean(raw) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "The image shows that the bird is red.",
        "The black and white photograph shows a street.",
        "In the image of the mirror, a man is seen.",
        "In the background, we can see a hill.",
        "OK, yes, check, mark, button",
        "Description of the bird on a museum label.",
        'The screen says "Hello. Feel free to ask anything."',
        "The card says I hope this helps you get well soon and shows a cat.",
        "A file named my_red_bird_file.png on a screen.",
        "#1 fan is printed on the mug.",
        "90. birthday, in gold letters.",
        "a < b and c > d",
        "Un oiseau rouge est perché « sur une branche ».",
        "一只红色的鸟站在树枝上。它有黑色的面罩。",
        "می\u200cنشیند",
        "👩\u200d🚀 astronaut emoji",
    ],
)
def test_kept(text):
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", "empty"),
        ("<think>Hm, a bird?", "reasoning"),
        ("...", "too short"),
        (" ".join(f"w{number * 7919 % 1009}" for number in range(401)), "too long (over 400 words)"),
        ("a" * 200_000, "too long"),
        ("A bird sits. " * 40, "repetition"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("As an AI language model, I cannot see images.", "refusal"),
        ("No image was provided.", "refusal"),
        ("I'd love to help! However, I cannot view attachments.", "refusal"),
        ("对不起，我无法查看图片。", "refusal"),
        ("Es tut mir leid, aber ich kann das Bild nicht sehen.", "refusal"),
        ("Ein kleiner Vogel mit rotem Gefieder sitzt auf einem kahlen Ast.", "wrong language"),
        ("一只红色的鸟站在树枝上。", "wrong language"),
    ],
)
def test_rejected(text, reason):
    found = filter_answer(text, FilterRules())
    assert (found.status, found.reason.startswith(reason)) == ("rejected", True)


@pytest.mark.parametrize(
    "text",
    [
        *USABLE,
        "The bird cannot be seen in full.",
        "A small bird. I cannot see its feet because of the leaves.",
        "A card with the words \"I'm sorry, but I can't help it\" in pink.",
        'A gray square. The words "No image was provided" are in its middle.',
        "As an AI-generated picture, it has odd fingers.",
        "The bird is red. The beak is red. The legs are red. The eye ring is red.",
        "Stripes from left to right: red, white, red, white, red, white.",
    ],
)
def test_accepted(text):
    assert filter_answer(text, FilterRules()) == FilterResult(text, "ok")


@pytest.mark.parametrize(
    ("text", "on_cut", "status", "kept"),
    [
        (f"{GOOD} It has", "trim", "ok", GOOD),
        (f"{GOOD}\n- red crest\n- black ma", "trim", "ok", f"{GOOD} red crest."),
        (GOOD, "trim", "ok", GOOD),
        ("A boy looks up at St. Mary's church. He", "trim", "ok", "A boy looks up at St. Mary's church."),
        (GOOD[:-1], "trim", "rejected", GOOD[:-1]),
        (f"{GOOD} It has", "keep", "ok", f"{GOOD} It has"),
        (f"{GOOD} It has", "reject", "rejected", f"{GOOD} It has"),
    ],
)
def test_cut_off(text, on_cut, status, kept):
    found = filter_answer(text, FilterRules(on_cut=on_cut), cut_at=256)
    assert (found.text, found.status) == (kept, status)
    assert "256 tokens" in found.reason


def test_rules_hold_for_what_is_left_of_a_cut_answer():
    assert "language" in filter_answer("Ein Vogel sitzt auf einem kahlen Ast. Er", FilterRules(), cut_at=9).reason
    assert "too long" in filter_answer(f"{GOOD} It", FilterRules(max_words=5), cut_at=9).reason


def test_limits_of_words_are_inclusive():
    rules = FilterRules(min_words=3, max_words=4)
    words = ["two words", "three words here", "four words are here", "five words are here too"]
    assert [filter_answer(text, rules).status for text in words] == ["rejected", "ok", "ok", "rejected"]


def test_words_are_counted_in_scripts_without_spaces_too():
    texts = ["", "A red bird.", "a - b", "... !!", "一只红色的鸟站在树枝上", "iPhone 手机", "붉은 새가 앉아 있다"]
    assert [count_words(text) for text in texts] == [0, 3, 2, 0, 6, 2, 4]


def test_loops_of_any_period_are_found():
    rng = random.Random(0)
    for period in (1, 5, 47, 100, 401, 1000):
        text = "".join(rng.choices("abcdefgh ", k=period))
        assert is_repetitive(GOOD + text * max(8, 300 // period))
    assert not is_repetitive(" ".join(f"w{number * 7919 % 1000}" for number in range(300)))


@pytest.mark.parametrize(("code", "text"), FOREIGN)
def test_languages_are_told_apart(code, text):
    assert is_other_language(text, "en")
    assert is_other_language(GOOD, code)
    assert not is_other_language(text, code)
    assert filter_answer(text, FilterRules(language="any")).status == "ok"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("一部 iPhone 15 Pro Max 手机，屏幕上显示 Instagram 的页面。", "zh"),
        ("Автомобиль BMW стоит на парковке.", "ru"),
        ("α + β", "en"),
        ("Amselhahn", "en"),
    ],
)
def test_short_and_mixed_texts_are_no_other_language(text, wanted):
    assert not is_other_language(text, wanted)


def test_rules_that_cannot_hold_are_refused():
    with pytest.raises(ConfigError, match="english.*any.* en "):
        FilterRules(language="english")
    with pytest.raises(ConfigError, match="--max-words"):
        FilterRules(min_words=5, max_words=4)


@pytest.mark.parametrize(
    "piece",
    ["the ", "a", "的", "I'm sorry ", '"', "'a ", "<think>", "</think>", "*", "_a ", "[", "[](a ", "`", "- \n", "| a ",
     "1. a\n", "The image shows ", "Let me know if ", "&amp;", "<br", "\\", "(((", ". "],
)  # fmt: skip
def test_time_for_one_answer_is_bounded(piece):
    start_s = time.process_time()
    filter_answer(piece * (50_000 // len(piece)), FilterRules(max_words=10**6))
    filter_answer(piece * 10_000_000, FilterRules())
    assert time.process_time() - start_s < 5


def test_nothing_in_random_text_raises():
    rng = random.Random(1)
    pieces = [
        "*", "_", "`", "#", "|", "[", "](", ")", "<", ">", "\n", "- ", "1. ", '"', "'", "’", "“", "<think>", "</think>",
        "<|", "|>", "the image shows ", "Sure! ", "a ", "bird", "不", "\ud83d", "\u0301", "&amp;", "\\", "。", ". ",
    ]  # fmt: skip
    for _ in range(1_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(25)))
        found = filter_answer(text, FilterRules(), cut_at=rng.choice([None, 9]))
        assert (found.status == "rejected") <= bool(found.reason)
        found.text.encode()
