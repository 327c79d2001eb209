from __future__ import annotations

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


def picture(number: int) -> np.ndarray:
    draw = np.random.default_rng(number)
    return draw.integers(0, 256, (int(draw.integers(1, 40)), int(draw.integers(1, 40)), 3), dtype=np.uint8)


@pytest.fixture
def plan():
    return plan_cache("here", 0.01, 32, "bicubic")


def test_what_was_put_comes_back_also_in_another_process_view(plan):
    cache, other = ImageCache(plan), ImageCache(plan)
    for number in range(50):
        cache.put(key(number), picture(number))
    assert np.array_equal(cache.get(key(0)), picture(0))
    assert other.get(key(0)) is None
    cache.flush()
    for view in (cache, other, ImageCache(plan)):
        assert all(np.array_equal(view.get(key(number)), picture(number)) for number in range(50))
        assert view.get(key(50)) is None
    assert cache.num_bytes() == sum(picture(number).nbytes for number in range(50))
    assert not cache.get(key(0)).flags.writeable


def test_nothing_is_kept_twice(plan):
    first, second = ImageCache(plan), ImageCache(plan)
    for cache in (first, second, first):
        cache.put(key(1), picture(1))
        cache.flush()
    assert first.num_bytes() == picture(1).nbytes


def test_the_limit_holds_and_more_room_continues(plan):
    small = replace(plan, limit_bytes=20_000)
    cache = ImageCache(small)
    for number in range(100):
        cache.put(key(number), picture(number))
        cache.flush()
    held = [number for number in range(100) if cache.get(key(number)) is not None]
    assert 0 < len(held) < 100
    assert cache.num_bytes() <= 20_000
    larger = ImageCache(plan)
    for number in range(100):
        larger.put(key(number), picture(number))
    larger.flush()
    assert all(np.array_equal(larger.get(key(number)), picture(number)) for number in range(100))
    # a view from before sees what lies within its own limit, and misses the rest
    assert all(cache.get(key(number)) is not None for number in held)
    assert sum(cache.get(key(number)) is not None for number in range(100)) >= len(held)


def test_a_full_disk_ends_the_cache_and_not_the_training(plan, monkeypatch):
    cache = ImageCache(plan)
    cache.put(key(0), picture(0))
    cache.flush()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    cache.put(key(1), picture(1))
    cache.flush()
    monkeypatch.undo()
    cache.put(key(2), picture(2))
    cache.flush()
    assert [cache.get(key(number)) is not None for number in range(3)] == [True, False, False]


@pytest.mark.parametrize("damage", [b"", b"something else entirely", b"SQLite format 3\0" + bytes(4096)])
def test_a_file_that_is_none_is_begun_anew(plan, damage):
    plan.path.parent.mkdir(parents=True)
    plan.path.with_suffix(".sqlite").write_bytes(damage)
    cache = ImageCache(plan)
    cache.put(key(3), picture(3))
    cache.flush()
    assert np.array_equal(ImageCache(plan).get(key(3)), picture(3))


def test_damaged_pixels_count_as_absent(plan):
    cache = ImageCache(plan)
    numbers = range(200)
    for number in numbers:
        cache.put(key(number), picture(number))
    cache.flush()
    with plan.path.open("r+b") as file:
        for place in random.Random(0).sample(range(cache.num_bytes()), 100):
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 0x55]))
    fresh = ImageCache(plan)
    found = [fresh.get(key(number)) for number in numbers]
    assert sum(pixels is None for pixels in found) > 5
    assert all(pixels is None or np.array_equal(pixels, picture(n)) for n, pixels in zip(numbers, found, strict=True))


def _write_for_ever(plan, start):
    cache = ImageCache(plan)
    order = random.Random(start).sample(range(300), 300)
    while True:
        for number in order:
            if number % 3 == 0 or cache.get(key(number)) is None:
                cache.put(key(number), picture(number))
            if number % 5 == 0:
                cache.flush()


def test_kills_at_any_instant_and_two_writers(plan):
    context = multiprocessing.get_context("fork")
    held = 0
    for round_ in range(10):
        writers = [context.Process(target=_write_for_ever, args=(plan, 2 * round_ + i), daemon=True) for i in (0, 1)]
        for writer in writers:
            writer.start()
        time.sleep(random.Random(round_).uniform(0.02, 0.15))
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        view = ImageCache(plan)
        found = {number: view.get(key(number)) for number in range(300)}
        assert all(pixels is None or np.array_equal(pixels, picture(number)) for number, pixels in found.items())
        now = sum(pixels is not None for pixels in found.values())
        assert now >= held  # nothing that was whole is lost
        held = now
    assert held > 100


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_whether_pictures_were_there_or_not(images, workers):
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
