"""The limiter against simulated servers: time is a number here, so hours pass in milliseconds."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import pairwise
from statistics import mean

import pytest

from sightwords.descriptions.describers.limiter import FIRST_LIMIT, GENTLE, AdaptiveLimit


class Simulation:
    """Keeps a limit's places filled; a server works on up to `width` requests at once, the others wait in line."""

    def __init__(self, limit: AdaptiveLimit, width: int, seconds: Callable[[], float], num_ready: int = 10**9) -> None:
        self.limit, self.width, self.seconds, self.num_ready = limit, width, seconds, num_ready
        self.now_s = 0.0
        self.num_answered = 0
        self.limits: list[int] = []
        self._line: list[tuple[float, int]] = []
        self._ends: list[tuple[float, float, int]] = []

    def run(self, num_answers: int) -> Simulation:
        for _ in range(num_answers):
            while self.limit.num_free > 0 and self.limit.num_open < self.num_ready:
                self._line.append((self.now_s, self.limit.enter()))
            while self._line and len(self._ends) < self.width:
                heapq.heappush(self._ends, (self.now_s + self.seconds(), *self._line.pop(0)))
            self.now_s, start_s, number = heapq.heappop(self._ends)
            self.limit.answered(number, self.now_s - start_s)
            self.limit.leave()
            self.num_answered += 1
            self.limits.append(self.limit.limit)
        return self


def variable(mean_s: float) -> Callable[[], float]:
    """Answers of different length, as language models give."""
    draws = random.Random(0)
    return lambda: draws.lognormvariate(0, 0.5) * mean_s


def test_it_grows_fast_to_the_most_where_all_are_answered_at_once():
    simulation = Simulation(AdaptiveLimit(256, 30), 10**6, lambda: 0.2).run(1000)
    assert simulation.limit.limit == max(simulation.limits) == 256
    assert simulation.now_s < 3


@pytest.mark.parametrize("seconds", [lambda: 1.0, variable(1.0)])
def test_it_stays_small_at_a_server_that_answers_one_at_a_time(seconds):
    simulation = Simulation(AdaptiveLimit(256, 30), 1, seconds).run(3000)
    assert max(simulation.limits) <= 32
    assert mean(simulation.limits) <= 24


def test_it_settles_near_the_width_of_a_server():
    simulation = Simulation(AdaptiveLimit(512, 120), 50, variable(2)).run(20000)
    settled = simulation.limits[5000:]
    assert 45 <= mean(settled) <= 150
    assert simulation.num_answered / simulation.now_s > 0.9 * 50 / (2 * 1.13)  # 1.13: mean of the drawn factor


def test_it_does_not_grow_where_answers_take_long():
    simulation = Simulation(AdaptiveLimit(256, 30), 10**6, lambda: 40.0).run(500)
    assert simulation.limit.limit == FIRST_LIMIT


def test_it_does_not_grow_where_the_requests_run_short():
    simulation = Simulation(AdaptiveLimit(256, 30), 10**6, lambda: 0.2, num_ready=10).run(5000)
    assert simulation.limit.limit <= 32
    end_s = simulation.now_s
    simulation.num_ready = 10**9
    simulation.run(1000)
    assert simulation.limit.limit == 256  # that they ran short has taught it nothing
    assert simulation.now_s - end_s < 2


def grown(limit: int = 100) -> AdaptiveLimit:
    adaptive = AdaptiveLimit(limit, 30)
    Simulation(adaptive, 10**6, lambda: 0.2).run(2000)
    assert adaptive.limit == limit
    for _ in range(adaptive.num_open):
        adaptive.leave()
    return adaptive


def test_overload_shrinks_it_once_for_all_that_were_sent_under_one_limit():
    limit = grown(100)
    numbers = [limit.enter() for _ in range(50)]
    for number in numbers:
        limit.overloaded(number, 0.5)
    assert limit.limit == 50
    limit.overloaded(limit.enter(), 0.5)
    assert limit.limit == 25


def test_after_overload_it_grows_gently_and_comes_back():
    limit = grown(100)
    limit.overloaded(limit.enter(), 0.5)
    simulation = Simulation(limit, 10**6, lambda: 0.2)
    steps = simulation.run(3000).limits
    rises = [(a, b) for a, b in pairwise(steps) if b > a]
    assert rises[0] == (50, 62)
    assert all(b <= a * GENTLE + 1 for a, b in rises)
    assert limit.limit == 100


def test_a_restart_forgets_everything():
    limit = grown(100)
    old = limit.enter()
    limit.restart(1)
    assert limit.limit == 1
    limit.answered(old, 100.0)
    limit.overloaded(old, 0.5)
    assert limit.limit == 1
    limit.leave()
    assert limit.num_open == 0
    Simulation(limit, 10**6, lambda: 0.2).run(1500)
    assert limit.limit == 100
