"""The way of a description into the set: asked, answered, filtered, committed; rejected ones are asked again.

What passes on the way, and why each record is needed:

- `Target` (questions.py): an image or a class. What is missing is looked up in the set as the run goes, so there is no
  list of a million questions to keep, and a run that is killed knows by the set alone what was asked.
- `Request` (describers/base.py): all that a describer may know of a question, and nothing that it may not: a request
  travels to other processes and machines.
- `Answer` (describers/base.py): what came back, as it came. Describers judge nothing, so all are judged alike.
- `FilterResult` (filter.py): the cleaned text, and whether it may be used.
- `Description` (schema.py): the row. Each answer is one committed transaction before the next one is looked at: a kill
  loses the answers in flight and no other, and what the budget counts is stored.

Beside them: a few threads read and decode images ahead, because models and servers must not wait for a disk; a round
of the budget ends where a limit must see the answers in flight before more is asked, because describers answer only
while they are driven; and the sweep over all targets is repeated while answers were rejected, so that what is to be
asked again is known by the set alone, too.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeVar

from sightwords.descriptions.budget import Budget
from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describers.base import Answer, Describer, Request
from sightwords.descriptions.filter import FilterResult, filter_answer
from sightwords.descriptions.questions import REFUSED, Target, Targets, Wanted, missing
from sightwords.descriptions.schema import Description, Prompt, storable
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import UnavailableError, UnreadableImageError
from sightwords.images.dataset import Problem
from sightwords.images.keys import image_key
from sightwords.progress import Progress

T = TypeVar("T")
R = TypeVar("R")

# This many failures one after another are the describer's fault, not the images'.
_MAX_FAILURES_IN_A_ROW = 20
# Answers after which texts that many images share are looked for; then again at each doubling.
_FIRST_LOOK = 1000
# What repeats the label is right, however short.
_UNFILTERED = ("class_name",)


@dataclass
class Session:
    """One run's asking; every answer is one committed transaction.

    Attributes:
        config: which answers are kept.
        targets: what is asked about.
        wanted: which descriptions of it.
        budget: what may be spent.
        stopping: True once the run is to stop.
        problems: images that turned out to be unreadable, by key.
        num_unreadable: how many of them have a failed row in the set.
    """

    config: DescribeConfig
    store: DescriptionSet
    describer: Describer
    prompt: Prompt
    targets: Targets
    wanted: Wanted
    budget: Budget
    stopping: Callable[[], bool]
    problems: dict[str, Problem] = field(default_factory=dict)
    num_unreadable: int = 0
    _num_answers: int = 0
    _num_failed_in_a_row: int = 0
    _num_to_ask_again: int = 0
    _next_look: int = _FIRST_LOOK

    def ask_all(self, progress: Progress) -> None:
        """Ask until nothing is wanted any more, the budget is used up, or the run is to stop.

        Raises:
            ModelError: the describer cannot be had or used; what had arrived is stored.
        """
        while not self._is_over() and self._sweep(progress):
            pass

    def _is_over(self) -> bool:
        return self.stopping() or bool(self.budget.exhausted)

    def _sweep(self, progress: Progress) -> bool:
        """Ask for all that is wanted now; return whether something was rejected that may be asked again."""
        self._num_to_ask_again = 0
        with closing(self._requests(progress)) as requests:
            for first in requests:
                allowed = self.budget.round(chain([first], requests))
                with closing(self.describer.describe(allowed, self.stopping)) as answers:
                    for answer in answers:
                        self._store(answer, progress)
                if self._is_over():
                    break
        self._reject_same(progress)
        return self._num_to_ask_again > 0

    def _requests(self, progress: Progress) -> Generator[Request]:
        """Yield what is to be asked, until the run is to stop; images that cannot be read are counted instead."""
        wanted = missing(self.store, self.targets, self.wanted)
        with closing(prefetch(lambda one: self._prepare(one[0]), wanted, self.describer.num_ahead)) as prepared:
            for (target, sample, attempt), image in prepared:
                if self.stopping():
                    return
                request = Request(
                    key=target.key,
                    sample=sample,
                    attempt=attempt,
                    name=target.name,
                    class_name=target.class_name,
                    text=self.prompt.text(target.class_name),
                    image=None,
                )
                error = image.exception()
                if isinstance(error, OSError | UnreadableImageError):
                    self._leave_out(request, error)
                    progress.advance()
                else:
                    yield replace(request, image=image.result())

    def _prepare(self, target: Target) -> object:
        """Return an image as the describer wants it; runs in threads."""
        if target.reference is None:
            return None
        data = target.reference.read()
        if image_key(data) != target.key:
            raise OSError("changed since it was listed; run the same command again")
        return self.describer.prepare(data, target.name)

    def _leave_out(self, request: Request, error: OSError | UnreadableImageError) -> None:
        """Count an image that cannot be read; only where its bytes are those of its key the set remembers that."""
        if isinstance(error, UnreadableImageError):
            self.num_unreadable += 1
            self.problems[request.key] = Problem(request.name, error.reason)
            self._put(Answer(request, ""), FilterResult("", "failed", f"unreadable image: {error.reason}"))
        else:
            self.problems[request.key] = Problem(request.name, error.strerror or str(error))

    def _store(self, answer: Answer, progress: Progress) -> None:
        """Filter, commit and show one answer.

        Raises:
            UnavailableError: too many requests in a row failed.
        """
        result = self._filtered(answer)
        self._put(answer, result)
        self._num_answers += 1
        self.budget.settle(answer)
        rejected = result.status == "rejected" and not result.reason.startswith(REFUSED)
        if rejected and (self.wanted.only_failed or answer.request.attempt + 1 < self.wanted.tries):
            self._num_to_ask_again += 1
        else:
            progress.advance(note=glimpse(result.text or f"{result.status}: {result.reason}"))
        while self.describer.notices:
            progress.message(self.describer.notices.pop(0))
        self._num_failed_in_a_row = self._num_failed_in_a_row + 1 if result.status == "failed" else 0
        if self._num_failed_in_a_row >= _MAX_FAILURES_IN_A_ROW:
            raise UnavailableError(
                f"{self._num_failed_in_a_row} requests in a row got no answer; the last one, for "
                f"{answer.request.name}: {result.reason}."
            )
        if self._num_answers >= self._next_look:
            self._next_look *= 2
            self._reject_same(progress)

    def _filtered(self, answer: Answer) -> FilterResult:
        if answer.status == "rejected":
            return FilterResult("", "rejected", f"{REFUSED}: {answer.reason.removeprefix(f'{REFUSED}: ')}")
        if answer.status == "failed":
            return FilterResult("", "failed", answer.reason)
        if self.config.describer in _UNFILTERED:
            text = answer.text.strip()
            return FilterResult(text, "ok" if text else "rejected", "" if text else "empty")
        return filter_answer(answer.text, self.config, answer.cut_at)

    def _put(self, answer: Answer, result: FilterResult) -> None:
        request, (prompt, describer) = answer.request, self.wanted.rows
        self.store.put([
            Description(
                key=key,
                prompt=prompt,
                describer=describer,
                sample=request.sample,
                attempt=request.attempt,
                text=storable(result.text),
                raw_text=storable(answer.text) if answer.text != result.text else None,
                status=result.status,
                reason=storable(result.reason),
                num_prompt_tokens=answer.num_prompt_tokens,
                num_text_tokens=answer.num_text_tokens,
                seconds=answer.seconds,
            )
            for key in self.targets.image_keys(request.key)
        ])  # fmt: skip

    def _reject_same(self, progress: Progress) -> None:
        """Reject texts that many images of several classes share: they say nothing about any of them."""
        if self.config.describer in _UNFILTERED or self.prompt.per_class or not self._num_answers:
            return
        limit = self.config.max_same
        num_rejected = self.store.reject_same(*self.wanted.rows, limit)
        self._num_to_ask_again += num_rejected
        if num_rejected:
            progress.message(f"Rejected {num_rejected} answers: more than {limit} images of several classes share one.")


def prefetch(prepare: Callable[[T], R], items: Iterable[T], num_ahead: int) -> Generator[tuple[T, Future[R]]]:
    """Yield (item, its prepared value or error) in order; at most `num_ahead` items are taken before their turn."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(min(num_ahead, 8, (os.cpu_count() or 1) + 1), "sightwords-prefetch")
    try:
        for item in items:
            waiting.append((item, pool.submit(prepare, item)))
            if len(waiting) >= num_ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def glimpse(text: str) -> str:
    """Return the first 60 characters of a text, on one line."""
    text = " ".join(text[:240].split())
    return text if len(text) <= 60 else f"{text[:57]}..."
