"""One run over a pool: items go out in chunks, results come back, what a dead worker held goes to others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sightwords.cluster.pool import Member, WorkerPool, cause, raised
from sightwords.cluster.worker import NOTICE, Failure
from sightwords.errors import SightwordsError, UnavailableError

MAX_DEATHS = 3  # an item that was alone in its chunk and has seen so many workers die is given up
_DEPTH = 2  # chunks that a worker has: while one is worked on, the next is prepared
_PARTS = 4  # that a chunk is split into when a worker dies of it
_MAX_DEATHS_IN_A_ROW = 20  # with no result in between; then it is not the items
_CHUNK_BYTES = 64 * 2**20
_POLL_S = 0.2  # how often `stopping` is looked at


@dataclass(frozen=True)
class Lost:
    """Stands for the result of an item that has none.

    Attributes:
        reason: why.
    """

    reason: str


@dataclass(eq=False)
class Chunk:
    """Items that travel together.

    Attributes:
        items: those without a result so far, by their position when the chunk was sent.
        num_bytes: what they take.
        num_deaths: workers that died while they had it.
    """

    items: dict[int, Any]
    num_bytes: int
    num_deaths: int = 0


class Dispatch:
    """Hands items to a pool's workers and yields the results.

    At most two chunks are at each worker, and all chunks in flight together take at most half of this node's object
    store, so memory is bounded however slow or fast anything is. A chunk whose worker died is split, and each part is
    then alone at a worker: so the item that kills workers is found, and no other is blamed for it.

    Args:
        pool: the workers; kept for further runs where this one ends well, closed where it does not.
        chunk_size: items that travel together.
        size_of: bytes of an item, roughly.
    """

    def __init__(self, pool: WorkerPool, chunk_size: int, size_of: Callable[[Any], int]) -> None:
        self.pool, self.chunk_size, self.size_of = pool, chunk_size, size_of
        self._ray = pool.cluster.ray
        self._max_bytes_open = pool.cluster.store_bytes // 2
        self._run = 0
        self._reset(iter(()), lambda: False)

    def run(
        self, items: Iterable[Any], stopping: Callable[[], bool] = lambda: False
    ) -> Generator[tuple[Any, Any | Lost]]:
        """Yield (item, result) for each item, each once, in any order.

        Args:
            items: taken as workers have room for them.
            stopping: True once the run is to stop: workers finish what they have begun, the rest gets no result.

        Raises:
            UnavailableError: the cluster is gone or has no room, or all workers die; what had arrived was yielded.
            SightwordsError: a worker raised it; the message names the node. What had arrived was yielded.
        """
        self.pool.num_runs += 1
        self._run = self.pool.num_runs
        self._reset(iter(items), stopping)
        try:
            while not self._is_done():
                self._feed()
                self._assign()
                self._receive(0.0 if self._wants_more() else _POLL_S)
                while self._arrived:
                    yield self._arrived.popleft()
                if self._error is not None:
                    raise self._error
                self._check()
        except self._ray.exceptions.RayError as error:
            self.pool.close()
            raise UnavailableError(f"The Ray cluster failed: {' '.join(str(error).split())[:500]}") from None
        except BaseException:
            self.pool.close()
            raise

    def _reset(self, source: Iterator[Any], stopping: Callable[[], bool]) -> None:
        self._source, self._stopping = source, stopping
        self._is_exhausted = self._is_stopped = False
        self._queue: deque[Chunk] = deque()
        self._open: dict[Any, tuple[Member, Chunk]] = {}
        self._bytes_open = 0
        self._arrived: deque[tuple[Any, Any]] = deque()
        self._error: SightwordsError | None = None
        self._num_deaths_in_a_row = 0

    def _is_done(self) -> bool:
        return self._is_exhausted and not self._queue and not self._open

    def _check(self) -> None:
        if not self._is_stopped and self._stopping():
            self._is_stopped = self._is_exhausted = True
            self._queue.clear()
            self.pool.stop(self._run)
        self.pool.check()

    # out: items to workers

    def _wants_more(self) -> bool:
        """Whether a chunk is to be made now: for each free place, each worker on its way, and the next to start."""
        free = sum(max(0, _DEPTH - one.num_open) for one in self.pool.members if one.is_ready and not one.is_alone)
        starting = sum(not one.is_ready for one in self.pool.members)
        wanted = free + starting + (not self.pool.is_full)
        is_room = self._bytes_open < self._max_bytes_open or not self._open
        return is_room and not self._is_exhausted and len(self._queue) < max(1, wanted)

    def _feed(self) -> None:
        """Take one chunk from the source, and start workers as long as there are more chunks than workers."""
        if self._wants_more():
            taken: dict[int, Any] = {}
            num_bytes = 0
            while len(taken) < self.chunk_size and num_bytes < _CHUNK_BYTES and not self._is_exhausted:
                for item in self._source:
                    taken[len(taken)] = item
                    num_bytes += self.size_of(item)
                    break
                else:
                    self._is_exhausted = True
            if taken:
                self._queue.append(Chunk(taken, num_bytes))
        while not self.pool.is_full and len(self._queue) > sum(one.num_open == 0 for one in self.pool.members):
            self.pool.add()

    def _assign(self) -> None:
        while self._queue and (member := self._taker(self._queue[0])):
            chunk = self._queue.popleft()
            member.num_open += 1
            member.is_alone = chunk.num_deaths > 0
            chunk.items = dict(enumerate(chunk.items.values()))
            call = member.actor.work.options(num_returns="streaming")
            self._open[call.remote(list(chunk.items.values()), self._run)] = member, chunk
            self._bytes_open += chunk.num_bytes

    def _taker(self, chunk: Chunk) -> Member | None:
        """Return the worker with the fewest chunks that may take this one; one that killed a worker goes alone."""
        if self._open and self._bytes_open + chunk.num_bytes > self._max_bytes_open:
            return None
        room = 1 if chunk.num_deaths else _DEPTH
        free = [one for one in self.pool.members if one.is_ready and not one.is_alone and one.num_open < room]
        return min(free, key=lambda one: one.num_open, default=None)

    # back: results and deaths

    def _receive(self, timeout_s: float) -> None:
        """Take everything that has come, waiting up to `timeout_s` for the first."""
        ready = self._ready(timeout_s, 1) and self._ready(0.0)
        while ready:
            for reference in ready:
                try:
                    self._take(reference)
                except SightwordsError as error:
                    self._error = self._error or error
            # an error ends the run: what has arrived by now is taken first
            ready = self._ready(0.0) if self._error else []

    def _ready(self, timeout_s: float, at_least: int | None = None) -> list[Any]:
        waiting = [*self.pool.starts, *self._open]
        if not waiting:
            return []
        ready, _ = self._ray.wait(waiting, num_returns=at_least or len(waiting), timeout=timeout_s)
        return list(ready)

    def _take(self, reference: Any) -> None:
        if reference in self.pool.starts:
            self.pool.advance(reference)
            return
        member, chunk = self._open[reference]
        try:
            group = self._ray.get(next(reference))
        except StopIteration:
            self._close(reference)
            if not self._is_stopped:
                for item in chunk.items.values():
                    self._arrived.append((item, Lost("the worker gave no result")))
        except self._ray.exceptions.RayError as error:
            self._close(reference)
            self._died(member, chunk, cause(error))
        else:
            self._take_group(reference, group)

    def _take_group(self, reference: Any, group: list[tuple[int, Any]] | Failure) -> None:
        member, chunk = self._open[reference]
        if isinstance(group, Failure):
            self._close(reference)
            if group.expected:
                raise raised(group, member.node)
            self._died(member, chunk, group.message)  # nobody knows what state its process is in
            return
        self._num_deaths_in_a_row = 0
        for position, result in group:
            if position == NOTICE:
                self.pool.notices.append(f"On {member.node}: {result}")
            elif position in chunk.items:
                self._arrived.append((chunk.items.pop(position), result))

    def _close(self, reference: Any) -> None:
        member, chunk = self._open.pop(reference)
        member.num_open -= 1
        member.is_alone = False
        self._bytes_open -= chunk.num_bytes

    def _died(self, member: Member, chunk: Chunk, reason: str) -> None:
        """Hand what a dead worker held to others; called once for each of its chunks.

        Raises:
            UnavailableError: workers die one after another, or this machine has left the cluster.
        """
        if member in self.pool.members:
            self.pool.dismiss(member)
            self._num_deaths_in_a_row += 1
            self.pool.notices.append(f"A worker on {member.node} died: {reason}")
        chunk.num_deaths += 1
        if not self._is_stopped:
            self._again(chunk, f"{chunk.num_deaths} workers died of it, the last one on {member.node}: {reason}")
        self.pool.cluster.check_own_node()
        if self._num_deaths_in_a_row >= max(_MAX_DEATHS_IN_A_ROW, 3 * self.pool.placement.num_workers):
            raise UnavailableError(
                f"{self._num_deaths_in_a_row} workers died one after another without a result; the last one on "
                f"{member.node}: {reason}."
            )

    def _again(self, chunk: Chunk, reason: str) -> None:
        items = list(chunk.items.values())
        if len(items) == 1 and chunk.num_deaths >= MAX_DEATHS:
            self._arrived.append((items[0], Lost(reason)))
            return
        length = max(1, -(-len(items) // _PARTS))
        for start in reversed(range(0, len(items), length)):
            part = items[start : start + length]
            size = sum(map(self.size_of, part))
            self._queue.appendleft(Chunk(dict(enumerate(part)), size, chunk.num_deaths))
