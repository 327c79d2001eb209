"""`server:MODEL@URL[,URL...]`: a model behind one or several OpenAI-compatible servers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue

from sightwords.descriptions.describers.base import Answer, Decoding, Request
from sightwords.descriptions.describers.server.dispatcher import Arrived, Dispatcher
from sightwords.descriptions.describers.server.endpoint import read_endpoint
from sightwords.descriptions.describers.server.http_client import load_aiohttp
from sightwords.descriptions.describers.server.loop_thread import LoopThread
from sightwords.descriptions.describers.server.picture import Picture, picture_of
from sightwords.descriptions.describers.server.server_pool import ServerPool
from sightwords.descriptions.schema import DescriberInfo
from sightwords.errors import UnavailableError

# So many refusals without a single answer are about the server or its model (one that sees no images), not the images.
MAX_REFUSALS = 16
POLL_S = 0.1  # how often a waiting describer looks whether it is to stop, and whether more requests fit


class ServerDescriber:
    """Describes through servers, with as many requests at once as they answer well.

    Args:
        model: the model's name as the servers know it.
        urls: the servers' URLs, mostly ending in /v1.
        decoding: how answers are drawn.
        concurrency: most requests at once to each server.
        timeout_s: longest wait for an answer, in seconds.
        patience_s: time without any server that answers after which the run ends, in seconds.

    Attributes:
        notices: what the user should know about the servers, oldest first; only appended to.

    Raises:
        MissingExtraError: aiohttp is not installed.
        ConfigError: a URL is not usable.
    """

    def __init__(
        self,
        model: str,
        urls: Sequence[str],
        decoding: Decoding,
        concurrency: int = 256,
        timeout_s: float = 120.0,
        patience_s: float = 300.0,
    ) -> None:
        load_aiohttp()
        self.model, self.decoding, self.timeout_s = model, decoding, timeout_s
        endpoints = [read_endpoint(url) for url in dict.fromkeys(urls)]
        self._pool = ServerPool(endpoints, model, concurrency, timeout_s, patience_s)
        self.notices = self._pool.notices
        self.num_ahead = concurrency * len(endpoints)
        self._is_reached = self._has_answered = False

    def info(self) -> DescriberInfo:
        """Return the model's name; where it is served makes no difference, and servers do not tell a revision."""
        return DescriberInfo(f"server:{self.model}", self.model, "", self.decoding.parameters())

    def prepare(self, data: bytes, name: str) -> Picture:
        """Return what is sent: the file itself where the server would see the same picture, else a JPEG.

        Raises:
            UnreadableImageError: the bytes cannot be turned into pixels.
        """
        return picture_of(data, name, self.decoding.max_side)

    def describe(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield answers as they arrive.

        `stopping` is also called in another thread, before anything is sent.

        Raises:
            UnavailableError: no server can be reached, or all refuse the key, the model or every request.
        """
        arrived: Arrived = SimpleQueue()
        ready: Future[Dispatcher] = Future()
        with LoopThread(partial(self._dispatch, arrived, ready, stopping)):
            yield from self._proven(self._answers(requests, ready.result(), arrived, stopping))

    async def _dispatch(self, arrived: Arrived, ready: Future[Dispatcher], stopping: Callable[[], bool]) -> None:
        """Be the other thread: open the connections, serve the dispatcher, close them when cancelled."""
        try:
            async with Dispatcher(self._pool, self.decoding, self.timeout_s, arrived, stopping) as dispatcher:
                if not self._is_reached:
                    await dispatcher.reach()
                    self._is_reached = True
                ready.set_result(dispatcher)
                await dispatcher.run()
        except Exception as error:
            ready.set_exception(error) if not ready.done() else arrived.put(error)

    def _answers(
        self, requests: Iterable[Request], dispatcher: Dispatcher, arrived: Arrived, stopping: Callable[[], bool]
    ) -> Iterator[Answer]:
        """Yield answers; between any two requests that are taken, all answers that have arrived are yielded."""
        source = iter(requests)
        num_open, is_more = 0, True
        while is_more or num_open:
            is_more = is_more and not stopping()
            wait_s = POLL_S
            if is_more and num_open < self._num_wanted():
                request = next(source, None)
                is_more, wait_s = request is not None, 0.0
                if request is not None:
                    dispatcher.add(request)
                    num_open += 1
            for answer in _taken(arrived, wait_s if num_open else 0.0):
                num_open -= 1
                if answer is not None:
                    yield answer

    def _num_wanted(self) -> int:
        """Return how many requests may be open or about to be sent: a free place must not wait for this thread."""
        capacity = self._pool.capacity
        return capacity + max(1, capacity // 4)

    def _proven(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        """Hold refusals back until there was one good answer, because a refusal is stored for good."""
        held: list[Answer] = []
        for answer in answers:
            if answer.status == "rejected" and not self._has_answered:
                held.append(answer)
                if len(held) >= MAX_REFUSALS:
                    raise UnavailableError(
                        f"The first {len(held)} requests were all refused; the last one, for {answer.request.name}: "
                        f"{answer.reason.removeprefix('refused: ')}. Is {self.model!r} a model that sees images?"
                    )
                continue
            if answer.status == "ok":
                self._has_answered = True
                yield from held
                held.clear()
            yield answer
        yield from held


def _taken(arrived: Arrived, wait_s: float) -> Iterator[Answer | None]:
    """Yield what has arrived, waiting up to `wait_s` seconds for the first; an error is raised after the answers."""
    error: BaseException | None = None
    try:
        item = arrived.get(timeout=wait_s) if wait_s else arrived.get_nowait()
        while True:
            if isinstance(item, BaseException):
                error = error or item
            else:
                yield item
            item = arrived.get_nowait()
    except Empty:
        pass
    if error is not None:
        raise error
