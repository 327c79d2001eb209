"""Adaptive concurrency: how many requests may be open at one server, found out from what it answers.

The limit starts small and doubles while that pays; after the first doubling that does not pay it grows by quarters. It
shrinks by a factor where the server is overloaded. A larger limit pays where it brings more answers per second, which
by Little's law (Little 1961, "A proof for the queuing formula L = lambda W") are the mean number of open requests over
their mean time. So the limit stays small at a server that works on one request at a time, where more would only wait
until they time out, and grows at one that batches, which answers each request later but all of them faster.
"""

from __future__ import annotations

FIRST_LIMIT = 4
FAST, GENTLE = 2.0, 1.25  # growth of the limit: until growing once brought nothing, and afterwards
WORTH = 0.15  # a limit twice as large must bring at least 15% more answers per second; a smaller step in proportion
MIN_ANSWERS = 8  # of a round, for its mean to say something
REST, MAX_REST = 8, 64  # rounds without growth after growing brought nothing; doubled each time in a row


class AdaptiveLimit:
    """The most requests that may be open at a server (`limit`, from 1 to `most`), and how many are (`num_open`).

    The limit does not grow where answers take longer than `slow_s` seconds on average.
    """

    def __init__(self, most: int, slow_s: float) -> None:
        self.most, self.slow_s = most, slow_s
        self.num_open = 0
        self._round_number = 0
        self.restart()

    def restart(self, limit: int = FIRST_LIMIT) -> None:
        """Begin again from a small limit: nothing is known about the server."""
        self._growth, self._num_rest, self._rest = FAST, 0, REST
        self._set(min(limit, self.most))

    @property
    def num_free(self) -> int:
        """Requests that may be sent now."""
        return self.limit - self.num_open

    def enter(self) -> int:
        """Count a request that is being sent; return its round, which `answered` and `overloaded` want back."""
        self.num_open += 1
        return self._round_number

    def leave(self) -> None:
        """Count a request that is no longer open."""
        self.num_open -= 1

    def answered(self, number: int, seconds: float) -> None:
        """Learn from the answer to a request of round `number` that took so many seconds; call it before `leave`."""
        if number != self._round_number:
            return  # sent under another limit
        self._num_answers += 1
        self._sum_open += self.num_open
        self._sum_s += seconds
        if self._num_answers >= max(MIN_ANSWERS, self.limit // 2 if self._growth == FAST else self.limit):
            self._end_round(self._sum_open / self._num_answers, self._sum_s / self._num_answers)

    def overloaded(self, number: int, factor: float) -> None:
        """Keep `factor` of the limit, once for all requests of round `number`."""
        if number == self._round_number:
            self._growth = GENTLE
            self._set(max(1, int(self.limit * factor)))

    def _end_round(self, num_open: float, seconds: float) -> None:
        if num_open < self.limit / 2:  # something else holds us back, so nothing is learned about the limit
            self._set(self.limit, self._smaller)
            return
        rate = num_open / max(seconds, 1e-9)
        if self._smaller is not None:
            smaller_limit, smaller_rate = self._smaller
            if rate < smaller_rate * (1 + WORTH * (self.limit / smaller_limit - 1)):
                self._growth = GENTLE
                self._num_rest, self._rest = self._rest, min(2 * self._rest, MAX_REST)
                self._set(smaller_limit)
                return
            self._rest = REST
        if self._num_rest == 0 and self.limit < self.most and seconds < self.slow_s:
            self._set(min(self.most, max(self.limit + 1, int(self.limit * self._growth))), (self.limit, rate))
        else:
            self._num_rest = max(0, self._num_rest - 1)
            self._set(self.limit)

    def _set(self, limit: int, smaller: tuple[int, float] | None = None) -> None:
        """Begin a round; `smaller` is the limit of before and its answers per second, while a larger one is tried."""
        self.limit, self._smaller = limit, smaller
        self._round_number += 1
        self._num_answers, self._sum_open, self._sum_s = 0, 0, 0.0
