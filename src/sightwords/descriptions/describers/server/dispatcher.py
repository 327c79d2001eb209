"""The traffic between a describer and its servers: who is asked, how often, and what comes of it.

Everything but `add` runs in one event loop. A request waits until a server is free, is asked, and ends as an answer;
after a fault it rests and waits again, after a server's death it waits again at once.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeAlias

from sightwords.descriptions.describers.base import Answer, Decoding, Request
from sightwords.descriptions.describers.server.chat_protocol import (
    CHAT_PATH,
    MODELS_PATH,
    ChatError,
    Completion,
    NoAnswerError,
    NotServedError,
    OverloadedError,
    RefusedError,
    UnreachableError,
    model_names,
    read_completion,
    said_by,
)
from sightwords.descriptions.describers.server.http_client import HttpClient
from sightwords.descriptions.describers.server.server_pool import (
    KEPT_IF_FAULTY,
    KEPT_IF_OVERLOADED,
    Server,
    ServerPool,
    backoff_s,
)
from sightwords.errors import UnavailableError

MAX_TRIES = 5  # of one request, those alone counted that failed with the server alive
LOOK_TIMEOUT_S = 10.0
TICK_S = 0.05


@dataclass(slots=True)
class _Job:
    """A request under way."""

    request: Request
    num_faults: int = 0
    last: Server | None = None


# What comes back: one answer for each request, None where it was dropped; an error is the end of everything.
Arrived: TypeAlias = "SimpleQueue[Answer | BaseException | None]"


class Dispatcher:
    """Asks servers; made and used in one event loop, in an `async with` block.

    Args:
        pool: the servers.
        decoding: how answers are drawn.
        timeout_s: longest wait for an answer.
        arrived: where answers go.
        stopping: True once nothing more is to be sent.
    """

    def __init__(
        self,
        pool: ServerPool,
        decoding: Decoding,
        timeout_s: float,
        arrived: Arrived,
        stopping: Callable[[], bool],
    ) -> None:
        self.pool, self.decoding, self.arrived, self.stopping = pool, decoding, arrived, stopping
        self._client = HttpClient(timeout_s)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Job] = deque()
        self._resting: list[tuple[float, int, _Job]] = []  # a heap by the time when they wait again
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._looked_at: set[Server] = set()
        self._is_woken = False

    async def __aenter__(self) -> Dispatcher:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.__aexit__(None, None, None)

    async def reach(self) -> None:
        """Look at all servers once; whatever they answer is good enough here.

        Raises:
            UnavailableError: nobody listens at any of them.
        """
        await asyncio.gather(*(self._look_at(server, is_first=True) for server in self.pool.servers))
        if all(server.is_down for server in self.pool.servers):
            raise self.pool.nobody()

    async def run(self) -> None:
        """Send what is added, until cancelled; what time brings happens here, all else when an answer comes."""
        while True:
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            while self._resting and self._resting[0][0] <= now_s:
                self._waiting.append(heapq.heappop(self._resting)[2])
            for server in self.pool.servers:
                if server.is_due(now_s) and server not in self._looked_at:
                    self._start(self._look_at(server))
            self._check(now_s)
            self._send()

    def add(self, request: Request) -> None:
        """Take a request; may be called in another thread."""
        self._waiting.append(_Job(request))
        if not self._is_woken:  # one call for many requests
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_woken = False
        self._send()

    def _send(self) -> None:
        """Send as many waiting requests as servers take."""
        if self.stopping():
            self._drop()
        now_s = time.monotonic()
        while self._waiting:
            server = self.pool.pick(now_s, self._waiting[0].last)
            if server is None:
                return
            self._start(self._ask(server, server.limit.enter(), self._waiting.popleft()))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.arrived.put(error)  # a mistake in this program: nobody must wait for an answer that never comes

    def _check(self, now_s: float) -> None:
        try:
            self.pool.check(now_s)
        except UnavailableError as error:
            self.arrived.put(error)

    def _drop(self) -> None:
        """Drop what is not being asked."""
        while self._waiting or self._resting:
            self._waiting.popleft() if self._waiting else heapq.heappop(self._resting)
            self.arrived.put(None)

    async def _ask(self, server: Server, number: int, job: _Job) -> None:
        """Ask one server once, and see to what comes of it."""
        start_s = time.monotonic()
        problem: ChatError | None = None
        try:
            completion = await self._completion(server, job.request)
            seconds = time.monotonic() - start_s
            server.limit.answered(number, seconds)
            server.answered()
            self.arrived.put(self._answer(server, job.request, completion, seconds))
        except ChatError as error:
            problem = error  # dealt with below: an error that is raised here would carry this one's words, unscrubbed
        finally:
            server.limit.leave()
        if problem is not None:
            await self._trouble(server, number, job, problem)
        self.pool.tell_change(server)
        self._send()

    async def _completion(self, server: Server, request: Request) -> Completion:
        while True:
            dialect = server.dialect
            body = dialect.body(self.pool.model, request, self.decoding)
            reply = await self._client.post(server.endpoint, CHAT_PATH, body)
            adapted = dialect.adapted(reply)
            if adapted is None:
                return read_completion(reply)
            if dialect == server.dialect:  # else another request has found it out meanwhile
                self.pool.adapt(server, adapted)

    async def _trouble(self, server: Server, number: int, job: _Job, error: ChatError) -> None:
        now_s, words = time.monotonic(), server.endpoint.tell(str(error))
        job.last = server
        if isinstance(error, RefusedError):
            server.answered()
            self.arrived.put(Answer(job.request, "", "rejected", f"refused: {words}"))
        elif isinstance(error, NotServedError):
            await self._leave_out(server, error)
            self._waiting.appendleft(job)
        elif isinstance(error, OverloadedError):
            server.limit.overloaded(number, KEPT_IF_OVERLOADED)
            server.overloaded(error, now_s, self.pool.patience_s)
            self._waiting.appendleft(job)
        elif isinstance(error, UnreachableError):
            server.down(words, now_s)
            self._waiting.appendleft(job)
        else:
            if isinstance(error, NoAnswerError):
                server.limit.overloaded(number, KEPT_IF_FAULTY)
            server.faulty(words, now_s)
            self._fault(job, words, now_s)

    def _fault(self, job: _Job, words: str, now_s: float) -> None:
        job.num_faults += 1
        if job.num_faults < MAX_TRIES:
            heapq.heappush(self._resting, (now_s + backoff_s(job.num_faults), next(self._order), job))
        else:
            self.arrived.put(Answer(job.request, "", "failed", f"{words}, the last of {MAX_TRIES} tries"))

    async def _leave_out(self, server: Server, error: NotServedError) -> None:
        server.hold()
        offered: list[str] = []
        if error.status == 404 and not server.left_out:
            with suppress(ChatError):
                offered = model_names(await self._client.get(server.endpoint, MODELS_PATH, LOOK_TIMEOUT_S))
        self.pool.leave_out(server, error, offered)
        self._check(time.monotonic())

    async def _look_at(self, server: Server, is_first: bool = False) -> None:
        """Find out whether anybody listens at a server; later on also whether a gateway has a server behind it."""
        self._looked_at.add(server)
        trouble = ""
        try:
            reply = await self._client.get(server.endpoint, MODELS_PATH, LOOK_TIMEOUT_S)
            if reply.status in (502, 503, 504) and not is_first:
                trouble = said_by(reply.status, reply.body)
        except ChatError as error:
            if isinstance(error, UnreachableError) or not is_first:
                trouble = str(error)
        finally:
            self._looked_at.discard(server)
        if trouble:
            server.down(trouble, time.monotonic())
        elif server.is_down:
            server.up()
        self.pool.tell_change(server)

    def _answer(self, server: Server, request: Request, completion: Completion, seconds: float) -> Answer:
        num_text = completion.num_text_tokens
        cut_at = (num_text or self.decoding.max_new_tokens) if completion.is_cut else None
        text = server.endpoint.scrub(completion.text)
        return Answer(request, text, "ok", "", cut_at, completion.num_prompt_tokens, num_text, seconds)
