from __future__ import annotations

import threading
import time

import pytest

from sightwords.descriptions.session import prefetch


def test_items_come_in_order_with_what_was_prepared():
    def slow_first(i):
        time.sleep(0.03 if i == 0 else 0)
        return i * i

    assert list(prefetch(slow_first, range(6), 3)) == [(i, i * i) for i in range(6)]


def test_no_more_than_num_ahead_are_taken_before_they_are_wanted():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    pairs = prefetch(lambda i: i, items(), 5)
    for wanted in range(10):
        next(pairs)
        assert len(taken) <= wanted + 5
    pairs.close()


def test_preparing_happens_in_other_threads():
    names = {name for _, name in prefetch(lambda _: threading.current_thread().name, range(4), 2)}
    assert all(name.startswith("sightwords-prefetch") for name in names)


def test_an_error_arrives_and_the_threads_end():
    def fail(i):
        raise RuntimeError(f"item {i}")

    with pytest.raises(RuntimeError, match="item 0"):
        list(prefetch(fail, range(50), 4))
    assert not [t for t in threading.enumerate() if t.name.startswith("sightwords-prefetch")]
