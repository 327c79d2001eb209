from __future__ import annotations

import io

import pytest
from PIL import Image

from sightwords.errors import UnreadableImageError
from sightwords.stages.describe.describers.base import Decoding, Request, answered, decode_within

REQUEST = Request("a" * 64, 0, "x.png", "plain", "What?", None)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_the_first_sample_is_greedy_and_seeds_are_functions_of_seed_key_and_sample():
    decoding = Decoding(temperature=0.7, seed=3)
    second = Request("a" * 64, 1, "x.png", "plain", "What?", None)
    other = Request("b" * 64, 1, "x.png", "plain", "What?", None)
    assert [decoding.temperature_of(r) for r in (REQUEST, second)] == [0.0, 0.7]
    seeds = [
        decoding.seed_of(second),
        decoding.seed_of(other),
        decoding.seed_of(REQUEST),
        Decoding(seed=4).seed_of(second),
    ]
    assert len(set(seeds)) == 4
    assert decoding.seed_of(second) == Decoding(seed=3).seed_of(second)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_an_empty_answer_is_rejected_and_a_cut_one_says_so():
    assert (answered(REQUEST, " \n", 5, 2, 0.1).status, answered(REQUEST, " \n", 5, 2, 0.1).reason) == (
        "rejected",
        "empty",
    )
    cut = answered(REQUEST, " a bird ", 5, 2, 0.1, cut_at=2)
    assert (cut.text, cut.status, cut.reason, cut.num_text_tokens) == ("a bird", "ok", "cut at 2 tokens", 2)


def test_only_larger_images_are_scaled_and_keep_their_shape():
    small, large = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (300, 100), "red")
    assert decode_within(png(small), "s", 64).size == (40, 20)
    large.paste("blue", (150, 0, 300, 100))
    scaled = decode_within(png(large), "l", 64)
    assert scaled.size == (64, 21)
    assert [scaled.getpixel((x, 10)) for x in (20, 44)] == [(255, 0, 0), (0, 0, 255)]
    assert decode_within(png(Image.new("RGB", (2000, 1))), "line", 64).size == (64, 1)


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(UnreadableImageError, match=r"x\.png"):
        decode_within(b"no image", "x.png", 64)
