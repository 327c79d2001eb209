"""Which requests share a batch, and how large a batch may be."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from itertools import groupby, islice

from sightwords.stages.describe.describers.base import Request

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
