from __future__ import annotations

import io

import pytest
from PIL import Image

from sightwords.descriptions.describers.base import Decoding, Request, decode_within
from sightwords.errors import UnreadableImageError


def request(key: str = "a" * 64, sample: int = 0, attempt: int = 0) -> Request:
    return Request(key, sample, attempt, "x.png", "bird", "plain", "What?", None)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_the_first_answer_to_the_first_sample_is_greedy():
    decoding = Decoding(temperature=0.7)
    asked = [request(), request(sample=1), request(attempt=1), request(sample=2, attempt=3)]
    assert [decoding.temperature_of(one) for one in asked] == [0.0, 0.7, 0.7, 0.7]


def test_seeds_are_functions_of_seed_key_sample_and_attempt():
    decoding = Decoding(seed=3)
    asked = [request(), request("b" * 64), request(sample=1), request(attempt=1)]
    seeds = [decoding.seed_of(one) for one in asked] + [Decoding(seed=4).seed_of(asked[0])]
    assert len(set(seeds)) == 5
    assert seeds[1] == Decoding(seed=3).seed_of(request("b" * 64))
    assert all(0 <= seed < 2**31 for seed in seeds)


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
