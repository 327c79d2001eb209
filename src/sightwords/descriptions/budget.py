"""Hard stops: no question is let out whose most expensive outcome, with all others in flight, would pass a limit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from sightwords.descriptions.describers.base import Answer
from sightwords.descriptions.prices import Price
from sightwords.descriptions.store import Usage
from sightwords.errors import ModelError

T = TypeVar("T")

_ROUNDING = 1 + 1e-9  # a cost that meets its limit exactly must not fail by the last bit of a float


@dataclass(frozen=True)
class Limits:
    """What a description set may take by one describer and prompt, over all runs; None is no limit.

    Attributes:
        max_requests: number of questions.
        max_tokens: tokens, sent and received.
        max_cost: cost in the currency of the prices.
    """

    max_requests: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None

    def share(self, spent: Spent, price: Price | None, num_shares: int) -> Limits:
        """Return the limits of one of several processes that spend what is left in equal shares."""
        cost = (price or Price()).cost(spent.num_prompt_tokens, spent.num_text_tokens, spent.seconds)
        tokens = spent.num_prompt_tokens + spent.num_text_tokens
        return Limits(
            None if self.max_requests is None else _part(self.max_requests, spent.num_requests, num_shares),
            None if self.max_tokens is None else _part(self.max_tokens, tokens, num_shares),
            None if self.max_cost is None else cost + max(0.0, self.max_cost - cost) / num_shares,
        )


@dataclass(frozen=True)
class Spent:
    """What was asked so far, every attempt counted, failed and rejected ones too.

    Attributes:
        num_requests: number of questions.
        num_prompt_tokens: tokens sent, where known.
        num_text_tokens: tokens that came back, where known.
        seconds: time of the rented machine, as `busy_seconds` tells it from the stored answers.
        max_prompt_tokens: largest number of tokens of one question; None where not known.
        num_unknown: questions without numbers of tokens (they failed); counted at their most expensive outcome.
    """

    num_requests: int = 0
    num_prompt_tokens: int = 0
    num_text_tokens: int = 0
    seconds: float = 0.0
    max_prompt_tokens: int | None = None
    num_unknown: int = 0

    @staticmethod
    def of(usages: Iterable[Usage]) -> Spent:
        """Return what stored questions took."""
        known = [0, 0]
        num_requests, num_unknown, largest = 0, 0, None
        times: list[tuple[float, float | None]] = []
        for usage in usages:
            num_requests += 1
            times.append((usage.created_at, usage.seconds))
            if usage.num_prompt_tokens is None or usage.num_text_tokens is None:
                num_unknown += 1
                continue
            known[0] += usage.num_prompt_tokens
            known[1] += usage.num_text_tokens
            largest = max(largest or 0, usage.num_prompt_tokens)
        return Spent(num_requests, known[0], known[1], busy_seconds(times), largest, num_unknown)


class Budget:
    """Lets questions out while their most expensive outcome is within the limits.

    A question in flight is counted with the largest number of prompt tokens seen so far and the longest answer that is
    allowed. Tokens and the cost of tokens stay within their limits as long as no question has more prompt tokens than
    the largest one answered before it was let out; where one has, the limit may be passed by the difference. Before
    anything is known about the size of questions, one is let out alone. The number of requests never passes its limit.
    Where a machine is paid by the hour, no question is let out that would not be answered in time if it took as long as
    the slowest one so far.

    Questions mostly turn out cheaper than their most expensive outcome. So a round ends once nothing more fits; when
    its answers are in, the next round begins with what they left over. Each is smaller than the one before, until not
    even one question fits: then `exhausted` tells why. Waiting inside a round would wait for ever, because a describer
    yields answers only while it is driven:

        requests = iter(requests)
        while work_is_left and not budget.exhausted:
            for answer in describer.describe(budget.round(requests), stopping):
                store(answer)
                budget.settle(answer)

    Args:
        limits: the limits over all runs.
        price: the model's price; needed for a limit of the cost.
        spent: what earlier runs took.
        max_new_tokens: longest answer, in tokens.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        limits: Limits,
        price: Price | None,
        spent: Spent,
        max_new_tokens: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert limits.max_cost is None or price is not None, "a limit of the cost needs a price"
        self.limits, self.price, self.clock = limits, price or Price(), clock
        self._start_s, self._earlier_s = clock(), spent.seconds
        self._num_requests, self._num_unknown = spent.num_requests, spent.num_unknown
        self._num_prompt, self._num_text = spent.num_prompt_tokens, spent.num_text_tokens
        self._max_prompt, self._max_text = spent.max_prompt_tokens, max_new_tokens
        self._taken_at: deque[float] = deque()
        self._longest_s = 0.0

    @property
    def num_in_flight(self) -> int:
        """Questions that were let out and not answered yet."""
        return len(self._taken_at)

    @property
    def spent(self) -> Spent:
        """What was asked by earlier runs and this one."""
        tokens = (self._num_prompt, self._num_text)
        return Spent(self._num_requests, *tokens, self._seconds(), self._max_prompt, self._num_unknown)

    @property
    def exhausted(self) -> str:
        """Why no further question can be let out, whatever those in flight turn out to take; else empty."""
        return self._passed(1)

    def try_take(self) -> bool:
        """Let one more question out if that is within the limits.

        False is for good where `exhausted` says so, and else until answers in flight turn out cheaper than reserved.
        """
        alone = self._counts_tokens and self._max_prompt is None and self.num_in_flight > 0
        if alone or self._passed(self.num_in_flight + 1):
            return False
        self._taken_at.append(self.clock())
        return True

    def give_back(self) -> None:
        """Take back the last `try_take`: there was no question after all."""
        self._taken_at.pop()

    def round(self, requests: Iterator[T]) -> Iterator[T]:
        """Yield requests while they are within the limits; the others stay in `requests` for the next round.

        Begin a round only when the describer has answered or dropped all requests of the one before: what it dropped
        was not asked, and is not counted.
        """
        self._taken_at.clear()
        while self.try_take():
            try:
                request = next(requests)
            except StopIteration:
                self.give_back()
                return
            yield request

    def settle(self, answer: Answer) -> None:
        """Count what an answer really took; store it before, since this may raise.

        Raises:
            ModelError: tokens are limited, and the describer does not tell how many it used.
        """
        if self._taken_at:
            # answers come in any order; first taken with first answered is the pairing with the shortest longest wait
            self._longest_s = max(self._longest_s, self.clock() - self._taken_at.popleft())
        self._num_requests += 1
        num_prompt, num_text = answer.num_prompt_tokens, answer.num_text_tokens
        if num_prompt is None or num_text is None:
            self._num_unknown += 1
            self._check_known(answer)
            return
        self._num_prompt += num_prompt
        self._num_text += num_text
        self._max_prompt = max(self._max_prompt or 0, num_prompt)
        self._max_text = max(self._max_text, num_text)  # some servers count tokens that they do not show

    def _check_known(self, answer: Answer) -> None:
        if answer.status != "ok" or not self._counts_tokens:
            return
        flag = "--max-tokens" if self.limits.max_tokens is not None else "--max-cost"
        raise ModelError(
            f"The describer does not tell how many tokens it used for {answer.request.name}, so {flag} cannot be "
            "kept. Limit the number of questions instead, with --max-requests."
        )

    @property
    def _counts_tokens(self) -> bool:
        by_cost = self.limits.max_cost is not None and self.price.needs_tokens
        return self.limits.max_tokens is not None or by_cost

    def _seconds(self) -> float:
        return self._earlier_s + self.clock() - self._start_s

    def _passed(self, num_open: int) -> str:
        """Return which limit `num_open` questions might pass at their most expensive, beside what was settled."""
        limits = self.limits
        if limits.max_requests is not None and self._num_requests + num_open > limits.max_requests:
            return f"--max-requests {limits.max_requests:,} is reached: {self._num_requests:,} asked."
        return self._passed_tokens(*self._worst(num_open)) or self._passed_cost(*self._worst(num_open))

    def _passed_tokens(self, num_prompt: int, num_text: int) -> str:
        limit = self.limits.max_tokens
        if limit is None or num_prompt + num_text <= limit:
            return ""
        used, next_one = self._num_prompt + self._num_text, (self._max_prompt or 0) + self._max_text
        return self._told(f"--max-tokens {limit:,}", f"{used:,} used", f"{next_one:,}")

    def _passed_cost(self, num_prompt: int, num_text: int) -> str:
        limit, price, seconds = self.limits.max_cost, self.price, self._seconds()
        if limit is None or price.cost(num_prompt, num_text, seconds + self._longest_s) <= limit * _ROUNDING:
            return ""
        spent = price.cost(self._num_prompt, self._num_text, seconds)
        next_one = price.cost(self._max_prompt or 0, self._max_text, self._longest_s)
        return self._told(f"--max-cost {price.money(limit)}", f"{price.money(spent)} spent", price.money(next_one))

    def _worst(self, num_open: int) -> tuple[int, int]:
        count = self._num_unknown + num_open
        return self._num_prompt + count * (self._max_prompt or 0), self._num_text + count * self._max_text

    def _told(self, limit: str, spent: str, next_one: str) -> str:
        if self._num_unknown and self._counts_tokens:
            spent += f" and {self._num_unknown:,} failed without telling their tokens, counted at their most"
        return f"{limit} is reached: {spent}, and one more question may take {next_one}."


def busy_seconds(answers: Iterable[tuple[float, float | None]], pause_s: float = 300.0) -> float:
    """Return how long a describer was at work on the wall clock, from what is stored of its answers.

    Adding up the seconds of answers would count a server's hour once for each request at the same time. Between two
    answers it was at work, unless more than `pause_s` seconds lie between them: then a run had ended, and of the
    next one only the first answer's own time is counted. The loading of a model is not in the answers, so not in here.

    Args:
        answers: (when it was stored in seconds since 1970, time that it took in seconds), in any order.
        pause_s: longest wait between two answers of one run.
    """
    total, before = 0.0, float("-inf")
    for stored_at, seconds in sorted(answers, key=lambda answer: answer[0]):
        gap = stored_at - before
        total += gap if gap <= pause_s else seconds or 0.0
        before = stored_at
    return total


def _part(limit: int, spent: int, num_shares: int) -> int:
    return spent + max(0, limit - spent) // num_shares
