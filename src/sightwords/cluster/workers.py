"""Work on the machines of a Ray cluster: `map_batches` of Ray Data over actors that hold a model.

Items travel in chunks. They lie with the feed, an actor beside this process, until this process has their results: it
is the only one that writes. Ray Data starts the workers, and starts dead ones anew where there is room. A row of its
dataset holds nothing: whoever gets one takes the next chunk from the feed. A worker that starts anew, or is not heard
of any more, loses its chunk to the others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from sightwords.cluster.connection import Placement, connect, place, ray_library
from sightwords.errors import ModelError, SightwordsError, UnavailableError

Job = Callable[[Sequence[Any], Callable[[], bool]], Iterable[tuple[int, Any]]]
"""The work in a worker's process: takes items, and what says whether to begin nothing else; yields (position, result)
in any order, and leaves out what was not begun."""

MAX_TRIES = 3  # of a chunk that workers die of
_CHUNKS = 2  # for each worker: one is worked on, one is ready
_MAX_STARTS = 20  # of workers in a row without a result in between
_POLL_S = 0.2
_BEAT_S, _LATE_S, _SILENT_S = 2.0, 6.0, 20.0  # a worker is heard of so often; then gets nothing else; then is dead


class Workers:
    """Workers on a Ray cluster; they stay between runs.

    Args:
        make_job: makes the job in a worker's process; can be pickled.
        address: of the cluster, as `connect` takes it.
        wanted: number of workers, as `place` takes it.
        device: of the workers, likewise.
        computes: whether they compute, likewise.
        patience_s: seconds without a single worker after which a run ends.
        secrets: environment variables that workers get, with the value they have here.

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
        secrets: Sequence[str] = ("HF_TOKEN",),
    ) -> None:
        self._make_job, self._patience_s, self._secrets = make_job, patience_s, secrets
        self._is_ours = connect(address)
        self._ray, self._numbers = ray_library(), count()
        self._feed: Any = None
        self._seen_s = self._next_look_s = 0.0
        try:
            self.placement = place(wanted, device, computes)
        except BaseException:
            self.close()
            raise

    def run(
        self, items: Iterable[Any], chunk_size: int, stopping: Callable[[], bool] = lambda: False
    ) -> Generator[tuple[Any, Any]]:
        """Yield (item, result) for each item, each once, in any order; a `ModelError` where there is no result.

        Args:
            items: taken as workers have room for them.
            chunk_size: items that travel together, and are done again together if their worker dies.
            stopping: True once the run is to stop: workers finish what they have begun, the rest gets no result.

        Raises:
            UnavailableError: the cluster has no room, is gone, or all workers die; what had arrived was yielded.
            SightwordsError: a worker raised it; the message names the node. What had arrived was yielded.
        """
        if self._feed is None:
            self._start()
        is_whole = False
        try:
            yield from self._run(iter(items), chunk_size, stopping)
            is_whole = not stopping()
        finally:
            if not is_whole:
                self._end()

    def close(self) -> None:
        """End the workers, and the connection if it was made here; may be called twice."""
        self._end()
        if self._is_ours:
            self._is_ours = False
            self._ray.shutdown()

    def _run(self, source: Iterator[Any], size: int, stopping: Callable[[], bool]) -> Generator[tuple[Any, Any]]:
        waiting: dict[int, list[Any]] = {}  # chunks without results
        is_taken = False
        while waiting or not is_taken:
            if stopping():
                is_taken = True
                self._feed.stop.remote()
            has_room = not is_taken and len(waiting) <= self.placement.num_workers * _CHUNKS
            if has_room:
                chunk = list(islice(source, size))
                is_taken = len(chunk) < size
                if chunk:
                    waiting[number := next(self._numbers)] = chunk
                    self._feed.put.remote(number, pickle.dumps(chunk))
            for number, results in self._receive(0.0 if has_room else _POLL_S):
                self._feed.finish.remote(number)
                chunk = waiting.pop(number, [])  # a worker that was thought dead may send them again
                yield from ((chunk[position], result) for position, result in results.items() if chunk)
            self._look_after()

    def _receive(self, timeout_s: float) -> Iterator[tuple[int, dict[int, Any]]]:
        """Yield the results of all chunks that have come, waiting up to `timeout_s` for the first; then raise."""
        first_error: Exception | None = None
        with suppress(Empty):
            arrived = self._arrived.get(timeout=timeout_s)
            while True:
                number, results, error = arrived
                yield number, results
                first_error = first_error or error
                arrived = self._arrived.get(timeout=0)
        if first_error:
            raise first_error

    def _look_after(self) -> None:
        """Have what dead workers held done by others; raise where nobody is at work."""
        now_s, placement = time.monotonic(), self.placement
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + 1
        has_workers, num_starts = self._ray.get(self._feed.look_after.remote())
        self._seen_s = now_s if has_workers else self._seen_s
        if now_s - self._seen_s > self._patience_s:
            raise UnavailableError(
                f"No node of the Ray cluster had room for a worker for {self._patience_s:.0f} s; each needs "
                f"{placement.num_cpus} CPUs and {placement.num_gpus} GPUs. See `ray status`, or ask for fewer with "
                "--ray-workers."
            )
        if num_starts > max(_MAX_STARTS, 3 * placement.num_workers):
            raise UnavailableError(
                f"{num_starts} workers started and died without a result. Does the model fit into the memory of a "
                "node? Ray's logs say more."
            )

    def _start(self) -> None:
        here = {"ray.io/node-id": self._ray.get_runtime_context().get_node_id()}
        self._feed = self._ray.remote(_Feed).options(num_cpus=0, label_selector=here).remote(_SILENT_S)
        secrets = {name: os.environ[name] for name in self._secrets if name in os.environ}
        set_up = partial(_set_up, partial(self._make_job, self.placement), secrets, Path.cwd(), version("sightwords"))
        self._ray.get(self._feed.set_maker.remote(set_up))
        self._seen_s = self._next_look_s = time.monotonic()
        self._arrived: SimpleQueue[Any] = SimpleQueue()
        self._thread = Thread(target=_iterate, args=(self._dataset(here), self._arrived), daemon=True)
        self._thread.start()

    def _dataset(self, here: dict[str, str]) -> Any:
        data = self._ray.data
        rows = data.from_items([0]).map_batches(_rows, fn_args=[self._feed], num_cpus=0, label_selector=here)
        results = rows.map_batches(
            _Worker,
            fn_constructor_args=[self._feed],
            batch_size=1,
            # a second one would wait for its worker even where that is gone
            compute=data.ActorPoolStrategy(size=self.placement.num_workers, max_tasks_in_flight_per_actor=1),
            num_cpus=self.placement.num_cpus,
            num_gpus=self.placement.num_gpus,
        )
        results.context.target_max_block_size = 1  # a row, or the results of a chunk, never wait for the next
        results.context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # plans, and a page for each dead worker
        return results

    def _end(self) -> None:
        if self._feed is not None:
            with suppress(self._ray.exceptions.RayError):
                for worker in self._ray.get(self._feed.workers.remote()):
                    self._ray.kill(worker)
            self._ray.kill(self._feed)  # which ends the dataset
            self._feed = None
            self._thread.join(30)  # what it asked of Ray after a disconnection would start another cluster


class _Feed:
    """Holds the chunks, and knows which worker works on which. A worker that starts anew has another name.

    The job's maker may hold secrets, so it travels as argument and result of calls, from process to process: arguments
    of constructors and rows of a dataset would be kept by Ray.
    """

    def __init__(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._chunks: dict[int, bytes] = {}
        self._pending: asyncio.Queue[int] = asyncio.Queue()  # numbers of chunks that nobody works on
        self._rows: asyncio.Queue[int] = asyncio.Queue()  # as many at least; who gets one too many waits for a chunk
        self._held_by: dict[int, str] = {}
        self._num_tries = Counter[int]()
        self._heard_s: dict[str, float] = {}  # of workers, and when
        self._names: dict[str, str] = {}  # by the actor's ID, which stays
        self._workers: list[Any] = []
        self._num_starts, self._is_stopped = 0, False

    async def set_maker(self, make_job: Callable[[], Job]) -> None:
        self._make_job = make_job

    async def put(self, number: int, chunk: bytes) -> None:
        self._chunks[number] = chunk
        self._give(number)

    async def take(self) -> int:
        """Wait for a row of the dataset, which ends with the feed."""
        return await self._rows.get()

    async def start(self, worker: Any, actor_id: str, name: str) -> Callable[[], Job]:
        """Count a worker that starts."""
        self._heard_s.pop(self._names.get(actor_id, ""), None)
        self._names[actor_id] = name
        self._num_starts += 1
        self._workers.append(worker)
        await self.look_after()
        return self._make_job

    async def beat(self, name: str) -> bool:
        """Note that a worker lives; return whether nothing else is to be begun."""
        self._heard_s[name] = time.monotonic()
        return self._is_stopped

    async def workers(self) -> list[Any]:
        return self._workers

    async def begin(self, name: str) -> tuple[int, bytes, int] | None:
        """Wait for a chunk; return number, items and how often it was begun. No items once the run is to stop.

        None where the chunk is done by now, or where the worker has not been heard of for a while and may be dead.
        """
        number = await self._pending.get()
        if number not in self._chunks:
            return None
        if not self._is_alive(name, _LATE_S):
            self._give(number)
            return None
        if self._is_stopped:
            return number, pickle.dumps([]), 0
        self._held_by[number] = name
        self._num_tries[number] += 1
        return number, self._chunks[number], self._num_tries[number]

    async def finish(self, number: int) -> None:
        """Forget a chunk whose results have arrived."""
        self._chunks.pop(number, None)
        self._held_by.pop(number, None)
        self._num_starts = 0

    async def look_after(self) -> tuple[bool, int]:
        """Take from dead workers what they held; return whether any lives, and how many started since a result."""
        for number, name in list(self._held_by.items()):
            if not self._is_alive(name, self._silent_s):
                del self._held_by[number]
                self._give(number)
        if self._pending.qsize() and not self._held_by:
            self._rows.put_nowait(0)  # a dead worker has the last one
        return any(self._is_alive(name, self._silent_s) for name in self._heard_s), self._num_starts

    async def stop(self) -> None:
        """Have nothing else begun."""
        self._is_stopped = True

    def _give(self, number: int) -> None:
        self._pending.put_nowait(number)
        self._rows.put_nowait(0)

    def _is_alive(self, name: str, within_s: float) -> bool:
        return name in self._heard_s and time.monotonic() - self._heard_s[name] < within_s


class _Worker:
    """The transform: makes the job, then works on chunks."""

    def __init__(self, feed: Any) -> None:
        ray = ray_library()
        self._feed, self._ray, self._name = feed, ray, uuid.uuid4().hex
        self._error: SightwordsError | None = None
        self._is_stopped = False
        Thread(target=self._beat, daemon=True).start()
        here = ray.get_runtime_context()
        try:
            self._job = ray.get(feed.start.remote(here.current_actor, here.get_actor_id(), self._name))()
        except Exception as error:
            self._error = _on_this_node(error)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[bytes]]:
        """Return a row with the pickled number, results by position and error of the next chunk; empty without one."""
        begun = self._ray.get(self._feed.begin.remote(self._name))
        return {"results": [pickle.dumps((begun[0], *self._results(*begun[1:]))) if begun else b""]}

    def _beat(self) -> None:
        with suppress(self._ray.exceptions.RayError):  # once the feed is gone
            while True:
                self._is_stopped = self._ray.get(self._feed.beat.remote(self._name))
                time.sleep(_BEAT_S)

    def _results(self, chunk: bytes, num_tries: int) -> tuple[dict[int, Any], SightwordsError | None]:
        results: dict[int, Any] = {}
        if self._error:
            return results, self._error
        items = pickle.loads(chunk)
        try:
            if num_tries > MAX_TRIES:
                raise ChildProcessError(f"{MAX_TRIES} workers died of it, or of what was asked beside it")
            results.update(self._job(items, lambda: self._is_stopped) if items else {})
        except SightwordsError as error:
            return results, _on_this_node(error)
        except Exception as error:
            results = dict.fromkeys(range(len(items)), ModelError(_said(error))) | results
        return results, None


def _rows(_: Any, feed: Any) -> Iterator[dict[str, list[int]]]:
    while True:
        yield {"row": [ray_library().get(feed.take.remote())]}


def _iterate(dataset: Any, arrived: SimpleQueue[Any]) -> None:
    try:
        for rows in dataset.iter_batches(batch_size=None, prefetch_batches=0):
            for results in filter(None, rows["results"]):
                arrived.put(pickle.loads(results))
        arrived.put((-1, {}, UnavailableError("Ray ended the workers.")))
    except Exception as error:
        arrived.put((-1, {}, UnavailableError(f"Ray failed: {_said(error)}")))


def _set_up(make_job: Callable[[], Job], environment: dict[str, str], folder: Path, ours: str) -> Job:
    """Make the job as it would be made where the run was started."""
    if ours != version("sightwords"):
        raise ModelError(f"sightwords is {version('sightwords')}, not {ours}. Install the same on all nodes.")
    os.environ.update(environment)
    with suppress(OSError):  # without the folder, a model that is given by its name will do
        os.chdir(folder)
    return make_job()


def _on_this_node(error: Exception) -> SightwordsError:
    """Return an error that can travel and says where it was raised."""
    kind = UnavailableError if isinstance(error, UnavailableError) else ModelError
    said = str(error) if isinstance(error, SightwordsError) else f"A worker cannot start: {_said(error)}"
    return kind(f"On {socket.gethostname()}: {said}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
