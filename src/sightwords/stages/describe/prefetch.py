"""Read and prepare images in threads, a bounded number ahead of the describer."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
