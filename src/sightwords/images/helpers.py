"""Processes that look at files for us: a million system calls, one after another, keep one processor busy for seconds.

Threads do not help, for they take Python's lock in turns. A helper imports the standard library and light modules of
ours, so it starts in milliseconds, and unlike a process of `multiprocessing` it runs nothing of the user's script.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TypeVar

Question = TypeVar("Question")


Answer = TypeVar("Answer")


Process = subprocess.Popen[bytes]


_ROOT = Path(__file__).parents[2]


_START = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from sightwords.images.helpers import serve; serve()"


class Helpers:
    """A few processes that call functions for us.

    Args:
        num_processes: how many; with fewer than 2 the functions are called here.
    """

    def __init__(self, num_processes: int) -> None:
        self._num = num_processes if num_processes > 1 and sys.executable else 0
        self._pool = ThreadPoolExecutor(max(1, self._num))  # a thread for each helper: it asks and waits
        self._processes: list[Process] = []
        self._free: SimpleQueue[Process] = SimpleQueue()

    def __enter__(self) -> Helpers:
        for _ in range(self._num):
            command, pipe = [sys.executable, "-I", "-S", "-c", _START], subprocess.PIPE
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
            self._processes.append(process)
            self._free.put(process)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
        self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            with suppress(OSError), process:  # closes its pipes, though it no longer reads, and waits for it
                pass

    def map(self, function: Callable[[Question], Answer], questions: Iterable[Question]) -> Iterator[Answer]:
        """Yield the answers to `questions`, in their order.

        Args:
            function: a function of a light module, at its top level.
            questions: what it is called with; together with the answers they should fit into memory.
        """
        if not self._num:
            return map(function, questions)
        return self._pool.map(lambda question: self._ask(function, question), questions)

    def _ask(self, function: Callable[[Question], Answer], question: Question) -> Answer:
        process = self._free.get()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            pickle.dump((function, question), process.stdin)
            process.stdin.flush()
            answer: Answer = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):  # it has died: what it was to do is done here
            return function(question)
        finally:
            self._free.put(process)
        return answer


def num_processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve() -> None:
    """Answer what comes on standard input until it ends."""
    gc.disable()  # what a helper makes is gone after each answer, and holds no cycles
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            function, question = pickle.load(sys.stdin.buffer)
            pickle.dump(function(question), sys.stdout.buffer)
            sys.stdout.buffer.flush()
