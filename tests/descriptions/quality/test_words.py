"""Counting words and finding whole sentences."""

from __future__ import annotations

import pytest

from sightwords.descriptions.quality.words import count_words, sentences, whole_sentences


@pytest.mark.parametrize(
    ("text", "num_words"),
    [
        ("", 0),
        ("A red bird.", 3),
        ("a - b", 2),
        ("... !!", 0),
        ("sure-footed", 1),
        ("Über den Wolken", 3),
        ("红鸟", 2),
        ("一只红色的鸟站在树枝上", 8),
        ("iPhone 手机", 3),
        ("นกสีแดงเกาะอยู่บนกิ่งไม้", 6),
        ("붉은 새가 앉아 있다", 4),
        ("पेड़ की शाखा", 3),
    ],
)
def test_count_words(text, num_words):
    assert count_words(text) == num_words


@pytest.mark.parametrize(
    ("text", "whole", "rest"),
    [
        ("A bird. It is red. It", ["A bird.", "It is red."], "It"),
        ('It says "Stop." A bird', ['It says "Stop."'], "A bird"),
        ("1.5 metres long. It", ["1.5 metres long."], "It"),
        ("Dr. Smith and J. Doe stand. They", ["Dr. Smith and J. Doe stand."], "They"),
        ("Fruit, e.g. apples, in a bowl! A", ["Fruit, e.g. apples, in a bowl!"], "A"),
        ("一只鸟。它是红色的。背", ["一只鸟。", "它是红色的。"], "背"),
        ("लाल पक्षी। वह", ["लाल पक्षी।"], "वह"),
        ("no end at all", [], "no end at all"),
    ],
)
def test_sentences(text, whole, rest):
    assert sentences(text) == (whole, rest)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("A red bird sits. Its crest", "A red bird sits."),
        ("A red bird sits.", "A red bird sits."),
        ("Red. The bird sits on", ""),
        ("Red. The bird sits. On", "Red. The bird sits."),
        ("A red bird that sits on", ""),
        ("一只红色的鸟。它站在", "一只红色的鸟。"),
    ],
)
def test_whole_sentences(text, kept):
    assert whole_sentences(text, min_words=2) == kept
