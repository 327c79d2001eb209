"""One run's asking: questions out, answers judged and committed, rejected ones asked again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from sightwords.descriptions.budget import Budget
from sightwords.descriptions.describers.base import Answer, Describer, Request
from sightwords.descriptions.filter import FilterResult, FilterRules, filter_answer
from sightwords.descriptions.questions import REFUSED, Question, Targets, Wanted, questions
from sightwords.descriptions.schema import Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import UnavailableError, UnreadableImageError
from sightwords.images.dataset import Problem
from sightwords.images.keys import image_key
from sightwords.progress import Progress

T = TypeVar("T")
R = TypeVar("R")


def prefetch(prepare: Callable[[T], R], items: Iterable[T], num_ahead: int) -> Generator[tuple[T, R]]:
    """Yield (item, prepare(item)) in order, with at most `num_ahead` items prepared or being prepared.

    Args:
        prepare: called in threads; what it raises is raised here.
        items: taken one by one, no more than `num_ahead` before they are yielded.
        num_ahead: number of items, at least 1.
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(min(num_ahead, 8, (os.cpu_count() or 1) + 1), "sightwords-prefetch")
    try:
        for item in items:
            waiting.append((item, pool.submit(prepare, item)))
            if len(waiting) >= num_ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


# This many failures one after another are the describer's fault, not the images'.
MAX_FAILURES_IN_A_ROW = 20
# Answers after which texts that many images share are looked for; then again at each doubling.
_FIRST_LOOK = 1000


@dataclass(frozen=True)
class Unreadable:
    """Why an image cannot be shown to the describer.

    Attributes:
        reason: in a few words.
        key_holds: whether the bytes were those of the key, so that the reason may be stored under it.
    """

    reason: str
    key_holds: bool = False


@dataclass(frozen=True)
class Checks:
    """Which answers are kept.

    Attributes:
        rules: what the filter keeps; None keeps every text as it is.
        max_same: images that may share one text; None any number.
    """

    rules: FilterRules | None
    max_same: int | None = None


class Session:
    """Asks for everything that is wanted; every answer is one committed transaction.

    Args:
        describer: who is asked.
        prompt: what is asked.
        store: where answers go.
        targets: what is asked about.
        wanted: which descriptions.
        checks: which answers are kept.
        budget: what may be spent.
        progress: shows descriptions that are done.
        stopping: True once the run is to stop.
    """

    def __init__(
        self,
        describer: Describer,
        prompt: Prompt,
        store: DescriptionSet,
        targets: Targets,
        wanted: Wanted,
        checks: Checks,
        budget: Budget,
        progress: Progress,
        stopping: Callable[[], bool],
    ) -> None:
        self.describer, self.prompt, self.store, self.targets, self.wanted = describer, prompt, store, targets, wanted
        self.checks, self.budget, self.progress, self.stopping = checks, budget, progress, stopping
        self.problems: dict[str, Problem] = {}
        self.num_answers = self.num_unreadable = 0
        self._num_failed_in_a_row = 0
        self._num_to_ask_again = self._num_told = 0
        self._next_look = _FIRST_LOOK

    def ask_all(self) -> None:
        """Ask until nothing is wanted any more, the budget is used up, or the run is to stop.

        Raises:
            ModelError: the describer cannot be had or used; what had arrived is stored.
        """
        while self._sweep() and not self._over():
            pass

    def _over(self) -> bool:
        return self.stopping() or bool(self.budget.exhausted)

    def _sweep(self) -> bool:
        """Ask for all that is wanted now; return whether something was rejected that may be asked again."""
        self._num_to_ask_again = 0
        with closing(self._prepared()) as prepared:
            waiting = Waiting(self._requests(prepared), self.stopping)
            while waiting and not self._over():
                # a round ends where the budget has to see its answers before it lets out more
                with closing(self.describer.describe(self.budget.round(waiting), self.stopping)) as answers:
                    for answer in answers:
                        self._store(answer)
                        self._tell()
        self._reject_same()
        return self._num_to_ask_again > 0

    def _tell(self) -> None:
        """Show what the describer has to say about itself."""
        for notice in self.describer.notices[self._num_told :]:
            self.progress.message(notice)
        self._num_told = len(self.describer.notices)

    def _prepared(self) -> Generator[tuple[Question, object]]:
        wanted = questions(self.store, self.targets, self.wanted)
        prepare: Callable[[Question], object] = self._prepare
        return prefetch(prepare, wanted, self.describer.num_ahead)

    def _requests(self, prepared: Iterator[tuple[Question, object]]) -> Iterator[Request]:
        """Yield the requests; images that cannot be read are counted instead."""
        for question, picture in prepared:
            target = question.target
            request = Request(
                target.key,
                question.sample,
                question.attempt,
                target.name,
                target.class_name,
                self.prompt.name,
                self.prompt.text(target.class_name),
                picture,
            )
            if isinstance(picture, Unreadable):
                self._leave_out(request, picture)
            else:
                yield request

    def _prepare(self, question: Question) -> object:
        """Return an image's picture as the describer wants it, or why there is none; runs in threads."""
        member = question.target.member
        if member is None:
            return None
        try:
            data = member.read()
        except OSError as error:
            return Unreadable(error.strerror or str(error))
        if image_key(data) != question.target.key:
            return Unreadable("changed since it was listed; run the same command again")
        try:
            return self.describer.prepare(data, question.target.name)
        except UnreadableImageError as error:
            return Unreadable(error.reason, key_holds=True)

    def _leave_out(self, request: Request, unreadable: Unreadable) -> None:
        """Count an unreadable image; where its bytes are what the key says, remember that in the set."""
        self.problems[request.key] = Problem(request.name, unreadable.reason)
        if unreadable.key_holds:
            self.num_unreadable += 1
            self._put(Answer(request, ""), FilterResult("", "failed", f"unreadable image: {unreadable.reason}"))
        self.progress.advance()

    def _store(self, answer: Answer) -> None:
        """Filter, commit and show one answer.

        Raises:
            UnavailableError: too many requests in a row failed.
        """
        result = self._filtered(answer)
        self._put(answer, result)
        self.num_answers += 1
        self.budget.settle(answer)
        if self._asked_again(answer, result):
            self._num_to_ask_again += 1
        else:
            self.progress.advance(note=_glimpse(result))
        self._num_failed_in_a_row = self._num_failed_in_a_row + 1 if result.status == "failed" else 0
        if self._num_failed_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise UnavailableError(
                f"{self._num_failed_in_a_row} requests in a row got no answer; the last one, for "
                f"{answer.request.name}: {result.reason}."
            )
        if self.num_answers >= self._next_look:
            self._next_look *= 2
            self._reject_same()

    def _filtered(self, answer: Answer) -> FilterResult:
        if answer.status == "rejected":
            return FilterResult("", "rejected", f"{REFUSED}: {answer.reason.removeprefix(f'{REFUSED}: ')}")
        if answer.status == "failed":
            return FilterResult("", "failed", answer.reason)
        if self.checks.rules is None:
            text = answer.text.strip()
            return FilterResult(text, "ok" if text else "rejected", "" if text else "empty")
        return filter_answer(answer.text, self.checks.rules, answer.cut_at)

    def _asked_again(self, answer: Answer, result: FilterResult) -> bool:
        if result.status != "rejected" or result.reason.startswith(REFUSED):
            return False
        return self.wanted.only_failed or answer.request.attempt + 1 < self.wanted.tries

    def _put(self, answer: Answer, result: FilterResult) -> None:
        request = answer.request
        rows = [
            Description(
                key,
                self.wanted.prompt,
                self.wanted.describer,
                request.sample,
                _storable(result.text),
                result.status,
                _storable(result.reason),
                answer.num_prompt_tokens,
                answer.num_text_tokens,
                answer.seconds,
                attempt=request.attempt,
                raw_text=_storable(answer.text) if answer.text != result.text else None,
            )
            for key in self.targets.image_keys(request.key)
        ]
        self.store.put(rows)

    def _reject_same(self) -> None:
        if self.checks.max_same is None or not self.num_answers:
            return
        wanted = self.wanted
        num_rejected = self.store.reject_same(wanted.prompt, wanted.describer, self.checks.max_same)
        self._num_to_ask_again += num_rejected
        if num_rejected:
            self.progress.message(
                f"{num_rejected} answers are the same text for more than {self.checks.max_same} images of several "
                "classes: rejected."
            )


class Waiting(Iterator[Request]):
    """Requests that were prepared and not yet taken: one can see whether there is one without losing it.

    Args:
        requests: the prepared requests.
        stopping: True once no more are to be taken.
    """

    def __init__(self, requests: Iterator[Request], stopping: Callable[[], bool]) -> None:
        self._requests, self._stopping = requests, stopping
        self._next: Request | None = None

    def __bool__(self) -> bool:
        if self._next is None and not self._stopping():
            self._next = next(self._requests, None)
        return self._next is not None

    def __next__(self) -> Request:
        if self._stopping() or not self:
            raise StopIteration
        taken, self._next = self._next, None
        assert taken is not None
        return taken


def _storable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which JSON may hold and UTF-8 may not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _glimpse(result: FilterResult) -> str:
    text = result.text or f"{result.status}: {result.reason}"
    text = " ".join(text[:200].split())
    return text if len(text) <= 60 else f"{text[:57]}..."
