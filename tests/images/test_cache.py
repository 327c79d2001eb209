from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from sightwords.images.cache import ImageCache, plan_cache
from sightwords.images.config import AugmentConfig, ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.images.loader import TrainOrder, train_loader
from sightwords.images.transforms import InputSize, TrainTransform


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@functools.cache
def pixels_of(number: int) -> np.ndarray:
    draw = np.random.default_rng(number)
    return draw.integers(0, 256, (int(draw.integers(1, 40)), int(draw.integers(1, 40)), 3), dtype=np.uint8)


@pytest.fixture
def plan():
    return plan_cache("here", 0.01, 32, "bicubic")


def store(cache, numbers):
    for number in numbers:
        cache.put(key(number), pixels_of(number))
    cache.flush()


def held(cache, numbers):
    """Return those of the numbers whose images are there, and check that these are whole."""
    found = {number: cache.get(key(number)) for number in numbers}
    assert all(pixels is None or np.array_equal(pixels, pixels_of(number)) for number, pixels in found.items())
    return [number for number, pixels in found.items() if pixels is not None]


def test_what_was_put_comes_back_once_also_in_another_process_view(plan):
    cache, other = ImageCache(plan), ImageCache(plan)
    cache.put(key(0), pixels_of(0))
    assert (held(cache, [0]), held(other, [0])) == ([0], [])
    store(cache, range(50))
    for view in (cache, other, ImageCache(plan)):
        store(view, [1])  # is there
        assert held(view, range(60)) == list(range(50))
    assert cache.num_bytes() == sum(pixels_of(number).nbytes for number in range(50))
    assert not cache.get(key(0)).flags.writeable


def test_the_limit_holds_and_more_room_continues(plan):
    cache = ImageCache(replace(plan, limit_bytes=20_000))
    for number in range(100):
        store(cache, [number])
    first = held(cache, range(100))
    assert 0 < len(first) < 100
    assert cache.num_bytes() <= 20_000
    larger = ImageCache(plan)
    store(larger, range(100))
    assert held(larger, range(100)) == list(range(100))
    # a view from before sees what lies within its own limit, and misses the rest
    assert set(first) <= set(held(cache, range(100)))


def test_a_full_disk_ends_the_cache_and_not_the_training(plan, monkeypatch):
    cache = ImageCache(plan)
    store(cache, [0])

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        store(cache, [1])
    store(cache, [2])
    assert held(cache, range(3)) == [0]


@pytest.mark.parametrize("damage", [b"", b"something else entirely", b"SQLite format 3\0" + bytes(4096)])
def test_a_file_that_is_none_is_begun_anew(plan, damage):
    plan.path.parent.mkdir(parents=True)
    plan.path.with_suffix(".sqlite").write_bytes(damage)
    store(ImageCache(plan), [3])
    assert held(ImageCache(plan), [3]) == [3]


def test_damaged_pixels_count_as_absent(plan):
    cache = ImageCache(plan)
    store(cache, range(200))
    with plan.path.open("r+b") as file:
        for place in random.Random(0).sample(range(cache.num_bytes()), 100):
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 0x55]))
    assert len(held(ImageCache(plan), range(200))) < 195


def _write_for_ever(plan, start):
    cache = ImageCache(plan)
    order = random.Random(start).sample(range(300), 300)
    while True:
        for number in order:
            if number % 3 == 0 or cache.get(key(number)) is None:
                cache.put(key(number), pixels_of(number))
            if number % 5 == 0:
                cache.flush()


def test_kills_at_any_instant_and_two_writers(plan):
    context = multiprocessing.get_context("fork")
    before = set()
    for round_ in range(10):
        writers = [context.Process(target=_write_for_ever, args=(plan, 2 * round_ + i), daemon=True) for i in (0, 1)]
        for writer in writers:
            writer.start()
        time.sleep(random.Random(round_).uniform(0.02, 0.15))
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        now = set(held(ImageCache(plan), range(300)))
        assert now >= before  # nothing that was whole is lost
        before = now
    assert len(before) > 100


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_whether_images_were_there_or_not(images, workers):
    train = open_dataset(ImagesConfig(str(images)), show=False).split("train")
    config, size = AugmentConfig(randaugment=1, erase=0.3, crop_scale=0.3), InputSize(8)
    plan = plan_cache(str(images), 0.01, 12, "bicubic")

    def batches(cache, workers=0):
        order = TrainOrder(len(train), 8, 3)
        return list(train_loader(train, 3, TrainTransform(config, size, 3), order, 0, 9, workers, cache=cache))

    first, second = batches(plan, workers), batches(plan)
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, second, strict=True))
    assert ImageCache(plan).num_bytes() > 0
    tight = replace(plan, path=plan.path.with_name("tight.pixels"), limit_bytes=2000)
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, batches(tight), strict=True))
    plain = batches(None)
    assert all(torch.equal(a.indices, b.indices) for a, b in zip(first, plain, strict=True))
