"""Asks a local model batch by batch; where a batch fails it is asked again in halves."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from sightwords.errors import SightwordsError
from sightwords.stages.describe.describers.base import Answer, Decoding, Request
from sightwords.stages.describe.describers.local.batching import BatchQueue, BatchSize
from sightwords.stages.describe.describers.local.device import free_memory, is_out_of_memory
from sightwords.stages.describe.describers.local.generation import LoadedModel, Reply

WINDOW = 4  # batches that are sorted together, so that a batch holds questions of like size


@dataclass(frozen=True)
class _Job:
    """A batch and how to get its inputs, which may be in the making in a thread."""

    batch: list[Request]
    inputs: Callable[[], Any]


@dataclass(frozen=True)
class _Failure:
    """Why a batch got no answers; keeps no exception, whose traceback would hold on to the batch's memory."""

    reason: str
    device: torch.device
    is_out_of_memory: bool


class LocalEngine:
    """Answers requests with a model in this process.

    Args:
        load: gives the model; called once, when the first request is there.
        decoding: how answers are drawn.
        batch_size: requests in a full batch.
        encodes_ahead: whether the next batch's inputs are made in a thread while the model answers; on the CPU that
            would only take the cores from the model.

    Attributes:
        notices: changes of the batch size, in words, oldest first.
    """

    def __init__(
        self, load: Callable[[], LoadedModel], decoding: Decoding, batch_size: int, encodes_ahead: bool
    ) -> None:
        self.decoding = decoding
        self.size = BatchSize(batch_size)
        self.notices: list[str] = []
        self.encodes_ahead = encodes_ahead
        self.load = load
        self._model: LoadedModel | None = None

    def answers(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield the answers batch by batch.

        A batch that fails is asked again in halves, in the end one request alone, so that one picture that the model
        cannot take costs no other its answer. Where memory ran out, later batches are no larger than the halves.

        Raises:
            ModelError: the model cannot be loaded or asked.
        """
        queue = BatchQueue(requests, self.size.full, WINDOW)
        with _thread(self.encodes_ahead) as pool:
            job = self._next_job(queue, pool)
            while job and not stopping():
                ahead = self._next_job(queue, pool) if pool else None
                outcome = self._ask(job)
                if isinstance(outcome, list):
                    yield from outcome
                    self._note_fit(len(job.batch))
                elif len(job.batch) == 1:
                    yield Answer(job.batch[0], "", "failed", outcome.reason)
                else:
                    self._halve(queue, job, ahead, outcome)
                    ahead = None
                job = ahead or self._next_job(queue, pool)

    def _next_job(self, queue: BatchQueue, pool: Executor | None) -> _Job | None:
        batch = queue.take(self.size.limit)
        if not batch:
            return None
        if self._model is None:
            self._model = self.load()  # now that requests were taken, so that pictures are prepared meanwhile
        if pool:
            return _Job(batch, pool.submit(self._model.encode, batch).result)
        return _Job(batch, partial(self._model.encode, batch))

    def _ask(self, job: _Job) -> list[Answer] | _Failure:
        """Return the answers to a batch, or why there are none."""
        assert self._model is not None
        start_s = time.perf_counter()
        try:
            replies = self._model.reply(job.inputs(), job.batch, self.decoding)
        except SightwordsError:
            raise
        except Exception as error:  # a model's own code may raise anything, and must not end the run for one picture
            failure = _failure(error, self._model)
        else:
            return self._from_replies(job.batch, replies, time.perf_counter() - start_s)
        if failure.is_out_of_memory:
            free_memory()
        return failure

    def _from_replies(self, batch: list[Request], replies: list[Reply], batch_s: float) -> list[Answer]:
        return [
            Answer(
                request,
                reply.text,
                cut_at=self.decoding.max_new_tokens if reply.is_cut else None,
                num_prompt_tokens=reply.num_prompt_tokens,
                num_text_tokens=reply.num_text_tokens,
                seconds=batch_s / len(batch),
            )
            for request, reply in zip(batch, replies, strict=True)
        ]

    def _note_fit(self, num_requests: int) -> None:
        former = self.size.limit
        self.size.fits(num_requests)
        if self.size.limit > former:
            self.notices.append(f"Batches of {former} fit into memory for a while; {self.size.limit} are tried again.")

    def _halve(self, queue: BatchQueue, job: _Job, ahead: _Job | None, failure: _Failure) -> None:
        """Make the halves of a failed batch the next ones, before what was encoded ahead at the former size."""
        if failure.is_out_of_memory:
            self.size.does_not_fit(len(job.batch))
            self.notices.append(
                f"Memory of {failure.device} ran out at a batch of {len(job.batch)}; it goes on with {self.size.limit}."
            )
        if ahead:
            queue.put_back(ahead.batch)
        queue.split(job.batch)


def _failure(error: Exception, model: LoadedModel) -> _Failure:
    if is_out_of_memory(error):
        hint = "use a smaller --max-side or --max-new-tokens, --precision bf16, or a smaller model"
        return _Failure(f"does not fit into the memory of {model.device} even alone; {hint}", model.device, True)
    reason = " ".join(str(error).split())[:400]
    return _Failure(f"the model failed on it: {type(error).__name__}: {reason}".rstrip(": "), model.device, False)


@contextmanager
def _thread(wanted: bool) -> Iterator[Executor | None]:
    """Give one thread, or None; on leaving, what has not begun is dropped."""
    if not wanted:
        yield None
        return
    pool = ThreadPoolExecutor(1, "sightwords-encode")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
