"""Asks a local model batch by batch; where a batch fails it is asked again in halves."""

from __future__ import annotations

import gc
import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Any

import torch

from sightwords.descriptions.describers.base import Answer, Decoding, Request
from sightwords.descriptions.describers.hf_generation import LoadedModel, Reply
from sightwords.errors import ConfigError, SightwordsError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def pick_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is a GPU where there is one.

    Under torchrun (`LOCAL_RANK` is set) `auto` and `cuda` are the GPU of this process's local rank.

    Raises:
        ConfigError: it is no device, or not one of this machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    rank = os.environ.get("LOCAL_RANK", "")
    if device == "cuda" and rank.isdecimal():
        device = f"cuda:{rank}"
        if int(rank) >= torch.cuda.device_count():
            raise ConfigError(
                f"This is process {rank} (counted from 0) of this machine, which has {torch.cuda.device_count()} GPUs. "
                "Start torchrun with --nproc-per-node no larger than that, or use --device cpu."
            )
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {device} cannot be used: {reason}. Use auto, cpu, cuda, cuda:N or mps.") from None


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the number format; `auto` is bf16 on GPUs that compute in it, fp16 on older ones, fp32 elsewhere."""
    if precision != "auto":
        return _DTYPES[precision]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


def free_memory() -> None:
    """Hand back what nobody uses: tensors in reference cycles, and the allocators' caches."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


_GROW_AFTER = 16  # batches that fit, after which a larger one is tried


class BatchQueue:
    """Takes requests a window at a time and hands them out in batches of like ones.

    Args:
        requests: what to ask; taken a window at a time.
        batch_size: requests in a full batch.
        num_batches: batches in a window.
    """

    def __init__(self, requests: Iterable[Request], batch_size: int, num_batches: int) -> None:
        self._requests = iter(requests)
        self._batch_size = batch_size
        self._window = batch_size * num_batches
        self._batches: deque[list[Request]] = deque()

    def take(self, limit: int) -> list[Request]:
        """Return the next batch, at most `limit` requests; an empty list when there are no more."""
        if not self._batches:
            self._batches.extend(like_batches(list(islice(self._requests, self._window)), self._batch_size))
        if not self._batches:
            return []
        batch = self._batches.popleft()
        if len(batch) > limit:
            self._batches.appendleft(batch[limit:])
        return batch[:limit]

    def put_back(self, batch: list[Request]) -> None:
        """Make a batch that was taken the next one again."""
        self._batches.appendleft(batch)

    def split(self, batch: list[Request]) -> None:
        """Make the two halves of a batch that was taken the next ones."""
        middle = half(len(batch))
        self.put_back(batch[middle:])
        self.put_back(batch[:middle])


class BatchSize:
    """The largest batch that fits into memory, as far as is known.

    A batch that does not fit halves it. What fits depends on the pictures, and on who else uses the device, so after a
    number of full batches that did fit it doubles again, up to what was asked for. Where that trial fails, the next one
    waits twice as long: over a long run trials cost next to nothing, and one window of huge pictures does not slow down
    everything that follows.

    Args:
        full: requests in a full batch.
    """

    def __init__(self, full: int) -> None:
        self.full = full
        self.limit = full
        self._grow_after = _GROW_AFTER
        self._num_fitting = 0
        self._grown = False

    def fits(self, num_requests: int) -> None:
        """Note that a batch was answered."""
        if self.limit < self.full and num_requests >= self.limit:
            self._num_fitting += 1
            if self._num_fitting >= self._grow_after:
                self.limit = min(self.full, 2 * self.limit)
                self._num_fitting, self._grown = 0, True

    def does_not_fit(self, num_requests: int) -> None:
        """Note that memory ran out at a batch."""
        if self._grown:
            self._grow_after *= 2
        self.limit = half(num_requests)
        self._num_fitting, self._grown = 0, False


def half(count: int) -> int:
    """Return half of a count, rounded up."""
    return (count + 1) // 2


def like_batches(requests: list[Request], batch_size: int) -> list[list[Request]]:
    """Return the requests in batches of pictures of like size and texts of like length, small ones first.

    Requests with and without a picture never share a batch.
    """
    batches = []
    for _, alike in groupby(sorted(requests, key=_likeness), key=lambda request: request.picture is not None):
        rows = list(alike)
        batches += [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return batches


def _likeness(request: Request) -> tuple[bool, int, int]:
    """Order by picture or none, then by area in steps of a factor of 1.4, then by length of the text."""
    if request.picture is None:
        return False, 0, len(request.text)
    width, height = request.picture.size
    return True, round(2 * math.log2(width * height)), len(request.text)


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
