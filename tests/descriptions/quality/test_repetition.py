"""Loops, and descriptions that repeat what the image repeats."""

# ruff: noqa: RUF001

from __future__ import annotations

import random
import time

import pytest

from sightwords.descriptions.quality.repetition import ends_in_loop, is_repetitive

START = "A small bird with a black mask sits on a bare branch in the snow. "
LONG = " ".join(f"w{number * 7919 % 1000}" for number in range(300))


@pytest.mark.parametrize(
    "text",
    [
        "the the the the the the",
        START + "the " * 20,
        START + "The bird is red. " * 5,
        START + "The bird is red. " * 5 + "The bird is r",
        START + "a red leaf, a green leaf, " * 6 + "a red leaf, and",
        START + "very " * 15 + "red",
        START + "a" * 100,
        START + "ha" * 50,
        START + "1.1.1.1.1." * 10,
        START + "a bird, " * 12 + "and a bird.",
        START * 4,
        f"{LONG} {LONG} {LONG}",
        f"{START}{LONG} {LONG} {LONG} {LONG[:100]}",
        "The bird is red. It sits here. The bird is red. A leaf hangs. The bird is red. Snow falls. The bird is red.",
        "The bird is red. It sits still. The bird is red. The bird is red.",
        "一只红色的鸟站在树枝上。" + "它是红色的，" * 8,
        "一只红色的鸟站在树枝上。" * 3,
        "很" * 30,
        "这是一只鸟。" + "的" * 40,
        "赤い鳥がいます。" * 5,
        START + "x x x y " * 10 + "x x x",
        "-" + " 0" * 60,
    ],
)
def test_loop(text):
    assert is_repetitive(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A bird.",
        "ha ha",
        "A very, very, very small bird.",
        "Stripes from left to right: red, white, red, white, red, white.",
        "A flag with red, white, red, white, red, white and red stripes, and a blue field.",
        "A neon sign that reads ha ha ha ha above a door.",
        "Knock, knock, knock on a wooden door.",
        "A clock with the numbers 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 12.",
        "A number plate that reads 0000000000.",
        "The bird is red. The beak is red. The legs are red. The eye ring is red.",
        "The first bird is red. The second bird is blue. The third bird is red. The fourth bird is green.",
        "A red bird on the left, a red bird in the middle and a red bird on the right.",
        "Crest: not visible. Beak: not visible. Legs: not visible. Tail: forked.",
        "red body, red cap, red beak, red crest, red tail, red legs, red eye ring",
        "Buffalo buffalo buffalo on a plain.",
        "A bird. A bird. A branch.",
        START + "It calls: cheep, cheep, cheep, cheep.",
        "New York, New York is written on the poster.",
        "A long road with trees, and trees, and trees, up to the hills.",
        "Zzzzzzzzzzzzz is written above the sleeping cat.",
        "A loading screen: ..........................................................................",
        "一只红色的鸟和一只蓝色的鸟站在一根树枝上，树枝上有绿色的叶子和白色的花。",
        "哈哈哈",
        START + "The bird is red. It looks to the left, and snow lies on the branch. The bird is red.",
        LONG,
        f"{LONG} {START}",
    ],
)
def test_description(text):
    assert not is_repetitive(text)


def test_any_period():
    """Three rounds of a random text end in a loop, two do not, wherever the last one stops."""
    rng = random.Random(0)
    for period in (30, 47, 100, 401, 1000, 5000):
        text = "".join(rng.choices("abcdefgh ", k=period))
        rest = text[: rng.randrange(period)]
        assert ends_in_loop(START + text * 3 + rest)
        assert not ends_in_loop(START + text * 2)


@pytest.mark.parametrize(
    "text",
    [
        " ".join(random.Random(0).choices(("red", "bird", "on", "a", "branch", "with", "leaves"), k=80_000)),
        "the " * 500_000,
        "a" * 500_000,
        "a" * 250_000 + "b",
        "ab" * 250_000 + "c",
        "的" * 500_000,
        ("a" * 5_000 + "b") * 100,
        "." * 500_000,
        ". " * 250_000,
        "e.g. " * 100_000,
    ],
    ids=lambda text: repr(text[:16]),
)
def test_linear_time(text):
    start_s = time.perf_counter()
    is_repetitive(text)
    assert time.perf_counter() - start_s < 5
