"""Work on the machines of a Ray cluster: `map_batches` of Ray Data over actors that hold a model.

Each row of the dataset is a chunk of items. This process puts chunks into a feed, from which the dataset is made, and
takes the results as they come, so there is one writer. Ray Data starts the actors, spreads the chunks, and has a chunk
whose actor died done again by the actor that replaces it. Added here: an item that actors die of is found and given
up, a run stops without giving up what was begun, and where a lost machine is not replaced the others do its work.
"""

from __future__ import annotations

import asyncio
import logging
import math
import pickle
import socket
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import count, islice
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

from sightwords.cluster.connection import Placement, connect, place, ray_library
from sightwords.errors import ModelError, SightwordsError, UnavailableError

MAX_DEATHS = 3  # of workers: two with a whole chunk, one with an item alone; then the item is given up
_CHUNKS = 2  # that a worker has: while one is worked on, the next is on its way
_STUCK_S = 20.0  # without a result or anyone at work; then the workers are started anew
_STOP_S = 60.0  # that what was begun may take once the run is to stop
_MAX_STARTS = 20  # of workers in a row without a result in between
_POLL_S = 0.2


class Job(Protocol):
    """The work, in a worker's process."""

    def run(self, items: Sequence[Any], stopping: Callable[[], bool]) -> Iterator[tuple[int, Any]]:
        """Yield (position in `items`, result) in any order.

        Args:
            items: what to work on.
            stopping: True once nothing else is to be begun; items that were not begun are left out.
        """


@dataclass(frozen=True)
class Lost:
    """Stands for the result of an item that has none.

    Attributes:
        reason: why.
    """

    reason: str


class Workers:
    """Workers on a Ray cluster; they stay between runs.

    Args:
        make_job: makes the job in a worker's process; can be pickled, and may hold secrets.
        address: of the cluster, as `connect` takes it.
        wanted: number of workers, as `place` takes it.
        device: of the workers, likewise.
        computes: whether they compute, likewise.
        patience_s: seconds without a single worker after which a run ends.

    Attributes:
        placement: how many workers there are, and what each takes.

    Raises:
        MissingExtraError: ray is not installed.
        ConfigError: GPUs are asked for and there are none.
        UnavailableError: the cluster cannot be reached.
    """

    def __init__(
        self,
        make_job: Callable[[Placement], Job],
        address: str = "auto",
        wanted: int | None = None,
        device: str = "auto",
        computes: bool = True,
        patience_s: float = 300.0,
    ) -> None:
        self._make_job, self._patience_s = make_job, patience_s
        self._is_ours = connect(address)
        self._numbers = count()
        self._stream: _Stream | None = None
        try:
            self.placement = place(wanted, device, computes)
        except BaseException:
            self.close()
            raise

    def run(
        self, items: Iterable[Any], chunk_size: int, stopping: Callable[[], bool] = lambda: False
    ) -> Generator[tuple[Any, Any | Lost]]:
        """Yield (item, result) for each item, each once, in any order.

        Args:
            items: taken as workers have room for them.
            chunk_size: items that travel together, and are done again together if their worker dies.
            stopping: True once the run is to stop: workers finish what they have begun, the rest gets no result.

        Raises:
            UnavailableError: the cluster has no room, is gone, or all workers die; what had arrived was yielded.
            SightwordsError: a worker raised it; the message names the node. What had arrived was yielded.
        """
        try:
            yield from self._run(iter(items), chunk_size, stopping)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """End the workers, and the connection if it was made here; may be called twice."""
        self._end()
        if self._is_ours:
            self._is_ours = False
            ray_library().shutdown()

    def _run(self, source: Iterator[Any], size: int, stopping: Callable[[], bool]) -> Generator[tuple[Any, Any | Lost]]:
        items: dict[int, Any] = {}  # without a result so far
        max_items, is_taken, stop_by_s = self.placement.num_workers * _CHUNKS * size, False, math.inf
        while (items or not is_taken) and time.monotonic() < stop_by_s:
            stream = self._stream = self._stream or self._begin(items, size)
            if stop_by_s == math.inf and stopping():
                is_taken, stop_by_s = True, time.monotonic() + _STOP_S
                stream.feed.stop.remote()
            has_room = not is_taken and len(items) <= max_items
            if has_room:
                chunk = dict(zip(islice(self._numbers, size), source, strict=False))
                is_taken = len(chunk) < size
                items |= chunk
                stream.put(chunk)
            for number, result in stream.receive(0.0 if has_room else _POLL_S):
                item = items.pop(number)
                if result is not None:
                    yield item, result
            if stream.is_stuck():
                self._end()
        if stop_by_s < math.inf:
            self._end()

    def _begin(self, items: dict[int, Any], size: int) -> _Stream:
        """Return a stream that begins with items that another one could not finish."""
        stream, rest = _Stream(self._make_job, self.placement, self._patience_s), iter(items.items())
        while chunk := dict(islice(rest, size)):
            stream.put(chunk)
        return stream

    def _end(self) -> None:
        if self._stream:
            self._stream.kill()
            self._stream = None


class _Stream:
    """One dataset: chunks go in by the feed, results come out in a thread."""

    def __init__(self, make_job: Callable[[Placement], Job], placement: Placement, patience_s: float) -> None:
        self._ray, self._placement, self._patience_s = ray_library(), placement, patience_s
        self._num_starts = self._num_starts_before = 0  # in all; before the last result
        self._began_s = self._asked_s = time.monotonic()
        self._heard_s: float | None = None  # when the last result came
        self._arrived: SimpleQueue[dict[int, Any] | Exception] = SimpleQueue()
        here = self._ray.get_runtime_context().get_node_id()
        self.feed = self._ray.remote(_Feed).options(num_cpus=0, label_selector={"ray.io/node-id": here}).remote()
        self._ray.get(self.feed.set_maker.remote(partial(make_job, placement)))
        self._thread = Thread(target=self._iterate, args=(_dataset(self.feed, here, placement),), daemon=True)
        self._thread.start()

    def put(self, items: dict[int, Any]) -> None:
        if items:
            self.feed.put.remote([self._ray.put(pickle.dumps(items))])  # in a list the bytes are not copied to the feed

    def kill(self) -> None:
        with suppress(self._ray.exceptions.RayError):
            for worker in self._ray.get(self.feed.workers.remote()):
                self._ray.kill(worker)
        self._ray.kill(self.feed)
        self._thread.join()  # what it asked of Ray after a disconnection would start another cluster

    def receive(self, timeout_s: float) -> Iterator[tuple[int, Any]]:
        """Yield all results that have come, waiting up to `timeout_s` for the first; then raise what went wrong."""
        error: Exception | None = None
        with suppress(Empty):
            arrived = self._arrived.get(timeout=timeout_s) if timeout_s else self._arrived.get_nowait()
            while True:
                if isinstance(arrived, Exception):
                    error = error or arrived
                else:
                    self._heard_s, self._num_starts_before = time.monotonic(), self._num_starts
                    yield from arrived.items()
                arrived = self._arrived.get_nowait()
        if error:
            raise error if isinstance(error, SightwordsError) else UnavailableError(f"Ray failed: {_said(error)}")

    def is_stuck(self) -> bool:
        """Return whether nobody is at work on what was begun: its node is gone, and no other has room."""
        now = time.monotonic()
        if now - self._asked_s < 1:
            return False
        self._asked_s = now
        self._num_starts, at_work = self._ray.get(self.feed.state.remote())
        if not self._num_starts and now - self._began_s > self._patience_s:
            raise UnavailableError(
                f"No node of the Ray cluster had room for a worker for {self._patience_s:.0f} s; each needs "
                f"{self._placement.num_cpus} CPUs and {self._placement.num_gpus} GPUs. See `ray status`, or ask for "
                "fewer with --ray-workers."
            )
        num_in_vain = self._num_starts - self._num_starts_before
        if num_in_vain > max(_MAX_STARTS, 3 * self._placement.num_workers):
            raise UnavailableError(
                f"{num_in_vain} workers started and died without a result. Does the model fit into the memory of a "
                "node? Ray's logs say more."
            )
        if self._heard_s is None or now - self._heard_s < _STUCK_S:
            return False
        return not any(node["Alive"] and node["NodeID"] in at_work for node in self._ray.nodes())

    def _iterate(self, dataset: Any) -> None:
        try:
            for rows in dataset.iter_batches(batch_size=None, prefetch_batches=0):
                for results in rows["results"]:
                    self._arrived.put(pickle.loads(results))
        except Exception as error:
            self._arrived.put(error)


def _dataset(feed: Any, here: str, placement: Placement) -> Any:
    """Return the dataset of results; its chunks come from the feed on this node."""
    data = ray_library().data
    chunks = data.from_items([0]).map_batches(
        _chunks, fn_kwargs={"feed": feed}, num_cpus=0, label_selector={"ray.io/node-id": here}
    )
    results = chunks.map_batches(
        _Worker,
        fn_constructor_args=(feed,),
        batch_size=1,
        compute=data.ActorPoolStrategy(size=placement.num_workers, max_tasks_in_flight_per_actor=_CHUNKS),
        num_cpus=placement.num_cpus,
        num_gpus=placement.num_gpus,
    )
    results.context.target_max_block_size = 1  # a chunk, or its results, never wait for the next
    results.context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it tells its plans, and a page for each dead worker
    return results


def _chunks(_: Any, feed: Any) -> Iterator[dict[str, list[bytes]]]:
    get = ray_library().get
    while True:
        yield {"chunk": get(get(feed.take.remote()))}


class _Feed:
    """What this process and its workers tell each other; an actor on this machine.

    Secrets in the job's maker travel as argument and result of calls, from process to process: arguments of
    constructors and rows of a dataset would be kept by Ray.
    """

    def __init__(self) -> None:
        self._make_job: Any = None
        self._chunks: asyncio.Queue[list[Any]] = asyncio.Queue()
        self._num_starts, self._is_stopped = 0, False
        self._workers: list[Any] = []
        # of chunks that were begun and not finished, by their first item: where, and how often; items tried alone
        self._nodes: dict[int, str] = {}
        self._num_begun = Counter[int]()
        self._alone = set[int]()

    async def set_maker(self, make_job: Callable[[], Job]) -> None:
        self._make_job = make_job

    async def put(self, chunk: list[Any]) -> None:
        self._chunks.put_nowait(chunk)

    async def take(self) -> list[Any]:
        return await self._chunks.get()

    async def stop(self) -> None:
        """Have nothing else begun."""
        self._is_stopped = True

    async def is_stopped(self) -> bool:
        return self._is_stopped

    async def start(self, worker: Any) -> tuple[str, Callable[[], Job]]:
        """Count a worker that starts; return the version of sightwords here and the maker of its job."""
        self._num_starts += 1
        self._workers.append(worker)
        return version("sightwords"), self._make_job

    async def workers(self) -> list[Any]:
        return self._workers

    async def begin(self, numbers: Sequence[int], node_id: str) -> tuple[int, set[int]]:
        """Note who begins with a chunk; return how many workers died of it, and the items of which they did."""
        self._nodes[numbers[0]] = node_id
        self._num_begun[numbers[0]] += 1
        return self._num_begun[numbers[0]] - 1, self._alone & set(numbers)

    async def begin_alone(self, number: int) -> None:
        self._alone.add(number)

    async def finish_alone(self, number: int) -> None:
        self._alone.remove(number)

    async def finish(self, numbers: Sequence[int]) -> None:
        del self._nodes[numbers[0]], self._num_begun[numbers[0]]

    async def state(self) -> tuple[int, set[str]]:
        """Return how many workers have started, and the nodes that have begun chunks and not finished them."""
        return self._num_starts, set(self._nodes.values())


class _Worker:
    """The transform: makes the job, then works on chunks."""

    def __init__(self, feed: Any) -> None:
        ray = ray_library()
        here = ray.get_runtime_context()
        self._feed, self._get, self._node_id = feed, ray.get, here.get_node_id()
        self._is_stopped, self._asked_s = False, 0.0
        self._error: SightwordsError | None = None
        ours, make_job = self._get(feed.start.remote(here.current_actor))
        try:
            if ours != version("sightwords"):
                raise ModelError(f"sightwords is {version('sightwords')}, not {ours}. Install the same on all nodes.")
            self._job = make_job()
        except Exception as error:
            self._error = _on_this_node(error)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[bytes]]:
        """Return a row with the results of a chunk's items, None for one that was not begun, or with our error."""
        items: dict[int, Any] = pickle.loads(rows["chunk"][0])
        return {"results": [pickle.dumps(self._error or self._results(items))]}

    def _results(self, items: dict[int, Any]) -> dict[int, Any] | SightwordsError:
        numbers = list(items)
        num_deaths, deadly = self._get(self._feed.begin.remote(numbers, self._node_id))
        rest = {number: item for number, item in items.items() if number not in deadly}
        results: dict[int, Any] = {number: Lost(f"{MAX_DEATHS} workers died of it") for number in deadly}
        try:
            if num_deaths - MAX_DEATHS * len(deadly) < MAX_DEATHS - 1:
                results |= self._work(rest)
            else:
                for number, item in rest.items():
                    self._get(self._feed.begin_alone.remote(number))
                    results |= self._work({number: item})
                    self._feed.finish_alone.remote(number)
        except SightwordsError as error:
            return _on_this_node(error)
        self._feed.finish.remote(numbers)
        return results

    def _work(self, items: dict[int, Any]) -> dict[int, Any]:
        numbers, results = list(items), dict.fromkeys(items)
        try:
            for position, result in self._job.run(list(items.values()), self._stopping):
                results[numbers[position]] = result
        except SightwordsError:
            raise
        except Exception as error:
            lost: Any = Lost(_said(error))
            return {number: lost if result is None else result for number, result in results.items()}
        return results

    def _stopping(self) -> bool:
        if not self._is_stopped and time.monotonic() - self._asked_s > 1:
            self._asked_s, self._is_stopped = time.monotonic(), self._get(self._feed.is_stopped.remote())
        return self._is_stopped


def _on_this_node(error: Exception) -> SightwordsError:
    """Return an error that can travel and says where it was raised."""
    kind = UnavailableError if isinstance(error, UnavailableError) else ModelError
    said = str(error) if isinstance(error, SightwordsError) else f"A worker cannot start: {_said(error)}"
    return kind(f"On {socket.gethostname()}: {said}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
