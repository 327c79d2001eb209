"""Prices and hard stops: no question is sent whose most expensive outcome, with those in flight, would pass a limit."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sightwords.descriptions.describers.base import Answer
from sightwords.descriptions.schema import Spent
from sightwords.errors import ConfigError, ModelError, UnknownNameError

T = TypeVar("T")

_ROUNDING = 1 + 1e-9  # a cost that meets its limit exactly must not fail by the last bit of a float
_EXAMPLE = "for example gpt-4.1-mini: {input: 0.40, output: 1.60}"
_WANTED = f"it must hold input and output, or per_hour, or all three, as numbers of 0 or more, {_EXAMPLE}"


@dataclass(frozen=True)
class Price:
    """What one model costs, in `currency`.

    Attributes:
        input: price of a million tokens sent.
        output: price of a million tokens received.
        per_hour: price of an hour of the machine that the model runs on.
    """

    input: float = 0.0
    output: float = 0.0
    per_hour: float = 0.0
    currency: str = "USD"

    def cost(self, num_prompt_tokens: float, num_text_tokens: float, seconds: float = 0.0) -> float:
        """Return the cost of `num_prompt_tokens` sent, `num_text_tokens` received and seconds of wall-clock time."""
        tokens = num_prompt_tokens * self.input + num_text_tokens * self.output if self.input or self.output else 0.0
        return tokens / 1e6 + (seconds * self.per_hour / 3600 if self.per_hour else 0.0)

    def money(self, amount: float) -> str:
        """Return an amount in words, with two significant digits where it is small: `1,234.50 USD`, `0.0042 USD`."""
        decimals = 2 if amount >= 0.1 or amount <= 0 else min(8, 1 - math.floor(math.log10(amount)))
        return f"{amount:,.{decimals}f} {self.currency}"


def read_price(path: Path, model: str) -> Price:
    """Return the price of a model from a YAML file: `MODEL: {input: PRICE, output: PRICE, per_hour: PRICE}` for each.

    A model may be a pattern ("qwen*"); an exact name goes before the first pattern that fits, and case does not matter.

    Raises:
        ConfigError: the file is missing or does not hold such a table.
        UnknownNameError: it has no price for the model.
    """
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"Cannot read the prices {path}: {' '.join(str(error).split())}.") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path} holds no table of prices. Write a line for each model, {_EXAMPLE}")
    currency = str(table.pop("currency", "USD"))
    prices = {str(name).lower(): _price(f"{path}: {name}", entry, currency) for name, entry in table.items()}
    fitting = [price for name, price in prices.items() if fnmatchcase(model.lower(), name)]
    if not fitting:
        raise UnknownNameError("model in the table of prices:", model, prices, f"Add it to {path}, or a pattern.")
    return prices.get(model.lower(), fitting[0])


def _price(where: str, entry: Any, currency: str) -> Price:
    allowed = ({"input", "output"}, {"per_hour"}, {"input", "output", "per_hour"})
    numbers = list(entry.values()) if isinstance(entry, dict) and set(entry) in allowed else [None]
    if not all(isinstance(number, int | float) and 0 <= number < math.inf for number in numbers):
        raise ConfigError(f"{where} is {entry!r}; {_WANTED}")
    return Price(**entry, currency=currency)


@dataclass(frozen=True)
class Limits:
    """What a description set may take by one describer and prompt, over all runs; None means no limit.

    Attributes:
        max_requests: number of questions.
        max_tokens: tokens, sent and received.
        max_cost: cost in the currency of the prices.
    """

    max_requests: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None

    def part(self, spent: Spent, price: Price | None, num_parts: int) -> Limits:
        """Return the limits of one of `num_parts` processes that spend what is left in equal parts."""

        def part(limit: float, used: float) -> float:
            return used + max(0.0, limit - used) / num_parts

        tokens = (spent.num_prompt_tokens, spent.num_text_tokens)
        cost = (price or Price()).cost(*tokens, spent.seconds)
        return Limits(
            None if self.max_requests is None else int(part(self.max_requests, spent.num_requests)),
            None if self.max_tokens is None else int(part(self.max_tokens, sum(tokens))),
            None if self.max_cost is None else part(self.max_cost, cost),
        )


class Budget:
    """Sends questions while their most expensive outcome is within the limits.

    A question in flight counts with the largest number of prompt tokens seen so far and the longest answer allowed.
    So a limit of tokens or cost is passed only where a question has more prompt tokens than every one answered before
    it was sent, and by the difference. Before their size is known, one question is sent alone. Where a machine is paid
    by the hour, no question is sent that would be late if it took as long as the slowest one so far.

    A round ends once nothing more fits; the next one begins with what its answers left over, until `exhausted` says
    why not even one question fits. Waiting inside a round would never end: a describer answers only while it is driven.

    Args:
        limits: the limits over all runs.
        price: the model's price; needed for a limit of the cost.
        spent: what earlier runs took; goes on counting.
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
        self.limits, self.price, self.spent, self._clock = limits, price or Price(), spent, clock
        self._start_s, self._max_text = clock() - spent.seconds, max_new_tokens
        self._sent_at: deque[float] = deque()
        self._longest_s = 0.0

    @property
    def exhausted(self) -> str:
        """Why no further question can be sent, whatever those in flight turn out to take; else empty."""
        return self._passed(1)

    def round(self, requests: Iterator[T]) -> Iterator[T]:
        """Yield requests while they are within the limits; the others stay in `requests` for the next round.

        Begin a round only when the describer has answered or dropped all requests of the one before: what it dropped
        was not asked, and is not counted.
        """
        self._sent_at.clear()
        while not self._must_wait() and (request := next(requests, None)) is not None:
            self._sent_at.append(self._clock())
            yield request

    def settle(self, answer: Answer) -> None:
        """Count what an answer really took; store it before, since this may raise.

        Raises:
            ModelError: tokens are limited, and the describer does not report how many it used.
        """
        self.spent.seconds = self._clock() - self._start_s
        self.spent.add(answer.num_prompt_tokens, answer.num_text_tokens)
        self._max_text = max(self._max_text, answer.num_text_tokens or 0)  # some servers count tokens they do not show
        if self._sent_at:  # in flight until it is counted: a round may go on in another thread
            # answers come in any order; first sent with first answered is the pairing with the shortest longest wait
            self._longest_s = max(self._longest_s, self._clock() - self._sent_at.popleft())
        unknown = answer.num_prompt_tokens is None or answer.num_text_tokens is None
        if unknown and answer.status == "ok" and self._counts_tokens:
            raise ModelError(
                f"The describer does not report how many tokens it used for {answer.request.name}, so --max-tokens and "
                "--max-cost cannot be kept. Limit the number of questions instead, with --max-requests."
            )

    @property
    def _counts_tokens(self) -> bool:
        by_cost = self.limits.max_cost is not None and (self.price.input > 0 or self.price.output > 0)
        return self.limits.max_tokens is not None or by_cost

    def _must_wait(self) -> bool:
        size_unknown = self._counts_tokens and self.spent.max_prompt_tokens is None
        return bool(size_unknown and self._sent_at) or bool(self._passed(len(self._sent_at) + 1))

    def _passed(self, num_open: int) -> str:
        """Return which limit `num_open` questions might pass at their most expensive, beside what was settled."""
        limits, spent, price = self.limits, self.spent, self.price
        if limits.max_requests is not None and spent.num_requests + num_open > limits.max_requests:
            return f"--max-requests {limits.max_requests:,} is reached: {spent.num_requests:,} asked."
        seconds, largest = self._clock() - self._start_s, spent.max_prompt_tokens or 0
        count = spent.num_unknown + num_open
        prompt, text = spent.num_prompt_tokens + count * largest, spent.num_text_tokens + count * self._max_text
        if limits.max_tokens is not None and prompt + text > limits.max_tokens:
            used = f"{spent.num_prompt_tokens + spent.num_text_tokens:,} used"
            return self._reached(f"--max-tokens {limits.max_tokens:,}", used, f"{largest + self._max_text:,}")
        worst = price.cost(prompt, text, seconds + self._longest_s)
        if limits.max_cost is not None and worst > limits.max_cost * _ROUNDING:
            used = f"{price.money(price.cost(spent.num_prompt_tokens, spent.num_text_tokens, seconds))} spent"
            one_more = price.money(price.cost(largest, self._max_text, self._longest_s))
            return self._reached(f"--max-cost {price.money(limits.max_cost)}", used, one_more)
        return ""

    def _reached(self, limit: str, used: str, one_more: str) -> str:
        if self.spent.num_unknown and self._counts_tokens:
            used += f" and {self.spent.num_unknown:,} failed without reporting their tokens, counted at their most"
        return f"{limit} is reached: {used}, and one more question may take {one_more}."
