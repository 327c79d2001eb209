from __future__ import annotations

import time

import pytest

from sightwords.cluster.worker import NOTICE, Failure, Worker, failure, gathered
from sightwords.errors import ModelError, UnreadableImageError


def slowly(*steps):
    """Yield numbers as results; sleep where a step is a float; raise where it is an exception."""
    for step in steps:
        if isinstance(step, float):
            time.sleep(step)
        elif isinstance(step, Exception):
            raise step
        else:
            yield step, f"result {step}"


def test_results_that_come_together_travel_together():
    groups = [[position for position, _ in group] for group in gathered(slowly(0, 1, 2, 0.3, 3, 4, 0.3, 5))]
    assert groups == [[0, 1, 2], [3, 4], [5]]
    assert list(gathered(slowly())) == []


def test_a_result_does_not_wait_for_the_next():
    start_s = time.monotonic()
    first = next(gathered(slowly(0, 2.0, 1)))
    assert first == [(0, "result 0")]
    assert time.monotonic() - start_s < 1


def test_what_came_before_an_error_arrives_before_it():
    found = list(gathered(slowly(0, 1, ModelError("There is no folder /m."))))
    assert found == [[(0, "result 0"), (1, "result 1")], Failure("ModelError", "There is no folder /m.", True)]


def test_an_error_that_nobody_expected_says_where():
    (found,) = gathered(slowly(ZeroDivisionError("by\nzero")))
    assert isinstance(found, Failure)
    assert not found.expected
    assert found.message.startswith("ZeroDivisionError: by zero (at ")
    assert "test_worker.py:" in found.message
    assert failure(UnreadableImageError("a.png", "cut")) == Failure(
        "UnreadableImageError", "Cannot read the image a.png: cut", True
    )


class Counting:
    """Yields the items until it is to stop."""

    def run(self, items, stopping):
        yield NOTICE, "begun"
        for position, item in enumerate(items):
            if stopping():
                return
            yield position, item


def test_stop_ends_the_runs_up_to_its_number():
    worker = Worker()
    assert worker.start(Counting) is None
    worker.stop(2)
    assert list(worker.work("ab", 2)) == [[(NOTICE, "begun")]]
    assert list(worker.work("ab", 3)) == [[(NOTICE, "begun"), (0, "a"), (1, "b")]]
    worker.stop(1)
    assert list(worker.work("ab", 2)) == [[(NOTICE, "begun")]]


def test_a_job_that_cannot_be_made_is_a_value():
    def make():
        raise ModelError("no weights")

    assert Worker().start(make) == Failure("ModelError", "no weights", True)


def test_a_worker_without_a_job_is_a_mistake_of_ours():
    with pytest.raises(AssertionError):
        list(Worker().work("a", 1))
