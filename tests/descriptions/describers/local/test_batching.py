from __future__ import annotations

import random

from PIL import Image

from sightwords.descriptions.describers.base import Request
from sightwords.descriptions.describers.hf_engine import BatchQueue, BatchSize, like_batches


def ask(number: int, side: int | None = 32, text: str = "What is this?") -> Request:
    picture = Image.new("RGB", (side, side)) if side else None
    return Request(str(number), 0, 0, str(number), "", "plain", text, picture)


def keys(batches: list[list[Request]]) -> list[list[str]]:
    return [[request.key for request in batch] for batch in batches]


def drain(queue: BatchQueue, limit: int) -> list[list[Request]]:
    return list(iter(lambda: queue.take(limit), []))


def test_a_batch_holds_pictures_of_like_size_and_texts_of_like_length():
    sides = [500, 30, 510, 32, 490, 31]
    texts = ["a" * 90, "a", "a", "a" * 90, "a" * 80, "a" * 2]
    requests = [ask(i, side, text) for i, (side, text) in enumerate(zip(sides, texts, strict=True))]
    assert keys(like_batches(requests, 2)) == [["1", "5"], ["3", "2"], ["4", "0"]]
    assert keys(like_batches(requests, 4)) == [["1", "5", "3", "2"], ["4", "0"]]


def test_requests_with_and_without_a_picture_never_share_a_batch():
    batches = like_batches([ask(0), ask(1, None), ask(2), ask(3, None), ask(4, None)], 4)
    assert keys(batches) == [["1", "3", "4"], ["0", "2"]]


def test_a_window_is_taken_at_a_time():
    taken = []

    def endless():
        while True:
            taken.append(ask(len(taken)))
            yield taken[-1]

    queue = BatchQueue(endless(), batch_size=3, num_batches=2)
    assert taken == []
    assert [len(queue.take(3)) for _ in range(2)] == [3, 3]
    assert len(taken) == 6
    queue.take(3)
    assert len(taken) == 12


def test_smaller_limits_cut_batches_and_lose_nothing():
    chance = random.Random(0)
    queue, given = BatchQueue((ask(i) for i in range(50)), batch_size=8, num_batches=2), []
    while batch := queue.take(limit := chance.randint(1, 8)):
        assert len(batch) <= limit
        outcome = chance.random()
        if outcome < 0.3 and len(batch) > 1:
            queue.split(batch)
        elif outcome < 0.5:
            queue.put_back(batch)
        else:
            given += batch
    assert sorted(int(request.key) for request in given) == list(range(50))


def test_halves_come_next_and_in_order():
    queue = BatchQueue((ask(i) for i in range(7)), batch_size=5, num_batches=2)
    queue.split(queue.take(5))
    assert keys(drain(queue, 5)) == [["0", "1", "2"], ["3", "4"], ["5", "6"]]


def test_the_size_is_halved_down_to_one():
    size, seen = BatchSize(8), []
    for _ in range(5):
        size.does_not_fit(size.limit)
        seen.append(size.limit)
    assert seen == [4, 2, 1, 1, 1]
    size = BatchSize(8)
    size.does_not_fit(5)
    assert size.limit == 3


def test_the_size_grows_after_many_full_batches_and_never_beyond_what_was_asked_for():
    size = BatchSize(8)
    size.does_not_fit(8)
    size.does_not_fit(4)
    for _ in range(15):
        size.fits(2)
        size.fits(1)  # no full batch, which shows nothing
    assert size.limit == 2
    size.fits(2)
    assert size.limit == 4
    for _ in range(100):
        size.fits(size.limit)
    assert size.limit == 8


def test_trials_of_a_larger_size_that_fail_become_rare():
    size, num_failures = BatchSize(8), 0
    for _ in range(10_000):  # 5 and more never fit
        if size.limit > 4:
            size.does_not_fit(size.limit)
            num_failures += 1
        else:
            size.fits(size.limit)
    assert size.limit == 4
    assert 3 <= num_failures <= 11
