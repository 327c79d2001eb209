"""Adaptive concurrency: how many requests may be open at one server, found out from what it answers.

The limit starts small and doubles while that pays; after the first doubling that does not pay it goes by quarters. It
shrinks by a factor where the server is overloaded. Whether a larger limit pays is judged by the answers per second
that it brings, which by Little's law (Little 1961, "A proof for the queuing formula L = lambda W") are the mean number
of open requests over their mean time. A server that works on one request at a time answers no faster for having more
of them waiting, so its limit stays small and its requests do not wait until they time out; a server that batches
answers each request later but all of them faster, and its limit grows.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_LIMIT = 4
FAST, GENTLE = 2.0, 1.25  # growth of the limit: until growing once brought nothing, and afterwards
WORTH = 0.15  # a limit twice as large must bring at least 15% more answers per second; a smaller step in proportion
MIN_ANSWERS = 8  # of a round, for its mean to say something
REST, MAX_REST = 8, 64  # rounds without growth after growing brought nothing; doubled each time in a row


@dataclass(slots=True)
class _Round:
    """Answers to requests that were sent under one limit."""

    number: int
    num_answers: int = 0
    num_open: int = 0  # summed over the answers
    seconds: float = 0.0  # summed over the answers


class AdaptiveLimit:
    """The most requests that may be open at a server, and how many are.

    Args:
        most: the limit never exceeds this.
        slow_s: the limit does not grow where answers take longer than this on average, in seconds.

    Attributes:
        limit: the most requests that may be open now, at least 1.
        num_open: requests that are open.
    """

    def __init__(self, most: int, slow_s: float) -> None:
        self.most, self.slow_s = most, slow_s
        self.num_open = 0
        self._smaller: tuple[int, float] | None = None  # (limit, answers per second) of before, while a larger is tried
        self._round = _Round(0)
        self.restart()

    def restart(self, limit: int = FIRST_LIMIT) -> None:
        """Begin anew from a small limit: nothing is known about the server (any more)."""
        self._growth = FAST
        self._num_rest, self._rest = 0, REST
        self._set(min(limit, self.most))

    @property
    def num_free(self) -> int:
        """Requests that may be sent now."""
        return self.limit - self.num_open

    def enter(self) -> int:
        """Count a request that is being sent; return its round, which `answered` and `overloaded` want back."""
        self.num_open += 1
        return self._round.number

    def leave(self) -> None:
        """Count a request that is no longer open; what it tells about the server goes to the other methods."""
        self.num_open -= 1

    def answered(self, number: int, seconds: float) -> None:
        """Learn from an answer; call it before `leave`.

        Args:
            number: the request's round.
            seconds: from sending to the last byte.
        """
        now = self._round
        if number != now.number:
            return  # sent under another limit
        now.num_answers += 1
        now.num_open += self.num_open
        now.seconds += seconds
        if now.num_answers >= max(MIN_ANSWERS, self.limit // 2 if self._growth == FAST else self.limit):
            self._judge(now)

    def overloaded(self, number: int, factor: float) -> None:
        """Shrink, once for all requests that were sent under the same limit.

        Args:
            number: the request's round.
            factor: of the limit that is kept, below 1.
        """
        if number == self._round.number:
            self._growth = GENTLE
            self._set(max(1, int(self.limit * factor)))

    def _judge(self, now: _Round) -> None:
        num_open, seconds = now.num_open / now.num_answers, now.seconds / now.num_answers
        if num_open < self.limit / 2:  # something else holds us back, so nothing is learned about the limit
            self._begin_round()
            return
        rate = num_open / max(seconds, 1e-9)
        if self._smaller is not None and not self._pays(rate, *self._smaller):
            self._growth = GENTLE
            self._num_rest, self._rest = self._rest, min(2 * self._rest, MAX_REST)
            self._set(self._smaller[0])
            return
        if self._smaller is not None:
            self._smaller, self._rest = None, REST
        if self._num_rest > 0:
            self._num_rest -= 1
            self._begin_round()
        elif self.limit < self.most and seconds < self.slow_s:
            grown = min(self.most, max(self.limit + 1, int(self.limit * self._growth)))
            self._set(grown, (self.limit, rate))
        else:
            self._begin_round()

    def _pays(self, rate: float, smaller_limit: int, smaller_rate: float) -> bool:
        return rate >= smaller_rate * (1 + WORTH * (self.limit / smaller_limit - 1))

    def _set(self, limit: int, smaller: tuple[int, float] | None = None) -> None:
        self.limit, self._smaller = limit, smaller
        self._begin_round()

    def _begin_round(self) -> None:
        self._round = _Round(self._round.number + 1)
