"""What runs in an actor's process: a job is made once, then given chunks of items."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

from sightwords.errors import SightwordsError

NOTICE = -1  # the position of a result that is a message to the user
_GATHER_S = 0.05  # results that arrive within it travel together: each message costs the driver about a millisecond


class Job(Protocol):
    """The work, in a worker's process."""

    def run(self, items: Sequence[Any], stopping: Callable[[], bool]) -> Iterator[tuple[int, Any]]:
        """Yield (position in `items`, result) in any order, once for each item; called in two threads at once.

        (`NOTICE`, text) tells the user something.

        Args:
            items: what to work on.
            stopping: True once nothing else is to be begun; items that were not begun are left out.
        """


@dataclass(frozen=True)
class Place:
    """Where a worker is.

    Attributes:
        node: name and address of its machine.
        pid: its process.
        version: of sightwords there.
    """

    node: str
    pid: int
    version: str


@dataclass(frozen=True)
class Failure:
    """What went wrong in a worker.

    Attributes:
        kind: class name of the exception.
        message: its message; of one that nobody expected, with the place in the code.
        expected: whether it is one of our own errors, which the user can do something about.
    """

    kind: str
    message: str
    expected: bool


class Worker:
    """The actor: `hello` says where it is, `start` makes the job, `work` does a chunk, `stop` ends a run early."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._last_stopped = -1

    def hello(self) -> Place:
        """Return where this worker is."""
        from sightwords.cluster.connection import ray_library

        node = f"{socket.gethostname()} ({ray_library().util.get_node_ip_address()})"
        return Place(node, os.getpid(), version("sightwords"))

    def start(self, make_job: Callable[[], Job]) -> Failure | None:
        """Make the job; return why it cannot be made, None where it could."""
        try:
            self._job = make_job()
        except Exception as error:
            return failure(error)
        return None

    def work(self, items: Sequence[Any], run: int) -> Iterator[list[tuple[int, Any]] | Failure]:
        """Yield results as they come, several together where they come fast; a failure is the last.

        Args:
            items: a chunk.
            run: number of the run that the chunk belongs to.
        """
        assert self._job is not None
        results = self._job.run(items, lambda: run <= self._last_stopped)
        yield from gathered(results)

    def stop(self, run: int) -> None:
        """Begin nothing else that belongs to the run of this number or to earlier ones."""
        self._last_stopped = max(self._last_stopped, run)


def gathered(results: Iterator[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]] | Failure]:
    """Yield lists of what arrives within `_GATHER_S`, and a failure in the end where iteration raised."""
    arrived: SimpleQueue[tuple[int, Any] | Failure | None] = SimpleQueue()
    Thread(target=_pump, args=(results, arrived), daemon=True).start()
    while True:
        last = arrived.get()
        group: list[tuple[int, Any]] = []
        deadline_s = time.monotonic() + _GATHER_S
        while isinstance(last, tuple):
            group.append(last)
            try:
                last = arrived.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except Empty:
                break
        if group:
            yield group
        if isinstance(last, Failure):
            yield last
        if not isinstance(last, tuple):
            return


def failure(error: Exception) -> Failure:
    """Return an exception as a value: many cannot travel between processes."""
    message = " ".join(str(error).split())
    if isinstance(error, SightwordsError):
        return Failure(type(error).__name__, message, True)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return Failure(type(error).__name__, f"{type(error).__name__}: {message[:1000]}{where}", False)


def _pump(results: Iterator[tuple[int, Any]], arrived: SimpleQueue[tuple[int, Any] | Failure | None]) -> None:
    try:
        for result in results:
            arrived.put(result)
    except Exception as error:
        arrived.put(failure(error))
    else:
        arrived.put(None)
