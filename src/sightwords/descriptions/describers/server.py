"""`server:MODEL@URL[,URL...]`: a model behind one or several OpenAI-compatible servers.

The way of a request through `_Traffic`, and why each part is needed:

- The caller's thread takes requests and gives answers: it blocks while it reads images and commits answers, and may
  itself run inside an event loop (a notebook). So servers are asked in an event loop in a thread of its own, and a
  queue takes the answers back.
- In that loop one coroutine, `_answer`, is the whole life of a request: it waits for a free server, is asked again
  after faults, and ends as one answer.
- Refusals are held back until one request was answered: a refusal is stored for good, and a model that sees no images
  refuses all of them.

Servers speak the OpenAI chat-completions protocol with small differences, which the functions at the end handle.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
import time
import warnings
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from sightwords.descriptions.describers.base import Answer, Decoding, Describer, Request
from sightwords.descriptions.describers.endpoint import Endpoint, Reply, ServerError, open_session, read_endpoint
from sightwords.descriptions.describers.server_pool import WITHOUT, Server, ServerPool, backoff_s
from sightwords.descriptions.schema import DescriberInfo
from sightwords.errors import ConfigError, UnavailableError
from sightwords.images.decode import thumbnail

if TYPE_CHECKING:
    from sightwords.descriptions.config import DescribeConfig

MAX_REFUSALS = 16  # without a single answer: these are about the server or its model and not about the images
MAX_TRIES = 5  # of one request, those alone counted that failed with the server alive
POLL_S = 0.05  # how often both threads look at what time brings
LOOK_S = 30.0  # some answer no GET while they work
JOIN_S = 5.0  # a name server that hangs must not hold up the end; nothing else takes this long
MAX_SENT_BYTES = 8 * 2**20  # a file of few pixels and more bytes than this is mostly metadata: encoded anew

_UNSUPPORTED = re.compile(
    r"(?i)unsupported|(not|n't) support|unrecogni[sz]ed|unknown|unexpected|not (permitted|allowed)"
)


class ServerDescriber(Describer):
    """Describes through servers, with as many requests at once as they answer well.

    Raises:
        ConfigError: the ID lacks the model or a URL, or a URL is not usable.
    """

    def __init__(self, name: str, config: DescribeConfig, sees_images: bool = True) -> None:
        super().__init__(name, config, sees_images)
        self.model, urls = split_server(name)
        self.decoding, self.timeout_s = Decoding.of(config), config.timeout_s
        servers = [Server(read_endpoint(url), config.concurrency, self.timeout_s) for url in dict.fromkeys(urls)]
        self.pool = ServerPool(servers, self.model, config.patience_s)
        self.notices = self.pool.notices
        self.num_ahead = config.concurrency * len(servers)
        self._has_answered = False

    def info(self) -> DescriberInfo:
        """Return the model's name; where it is served makes no difference, and servers do not tell a revision."""
        return DescriberInfo(f"server:{self.model}", self.model, "", asdict(self.decoding))

    def prepare(self, data: bytes, name: str) -> tuple[bytes, bytes]:
        """Return a data URL, of the file itself where the server would see the same image, else of a JPEG."""
        return data_url(data, name, self.decoding.max_side)

    def describe(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield answers as they arrive; `stopping` is also called in another thread, before anything is sent."""
        held: list[Answer] = []  # refusals, until there was one good answer
        with _Traffic(self, stopping) as traffic:
            for answer in traffic.answers(requests):
                if answer.status == "rejected" and not self._has_answered:
                    held.append(answer)
                    if len(held) == MAX_REFUSALS:
                        raise UnavailableError(
                            f"The first {len(held)} requests were all refused; the last one, {answer.request.name}, "
                            f"was {answer.reason}. Name a model that sees images, which {self.model!r} may not be."
                        )
                    continue
                if answer.status == "ok":
                    self._has_answered = True
                    yield from held
                    held.clear()
                yield answer
        yield from held


def split_server(rest: str) -> tuple[str, list[str]]:
    """Return the model and the URLs of `MODEL@URL[,URL...]`.

    Raises:
        ConfigError: there is no model or no URL, or one that does not begin with http:// or https://.
    """
    model, *tail = re.split("@(?=https?://)", rest, maxsplit=1)
    urls = re.split(",(?=https?://)", tail[0]) if tail else []
    # a comma is left where what follows it is not a URL; behind a question mark it belongs to a key
    if model and urls and not any("," in url.partition("?")[0] or url.endswith("://") for url in urls):
        return model, urls
    raise ConfigError(
        "A server describer is written server:MODEL@URL or server:MODEL@URL,URL with URLs that begin with http:// or "
        "https://, for example server:qwen2.5vl@http://localhost:11434/v1."
    )


class _Traffic:
    """What goes on between a describer and its servers: up to `answers` in the caller's thread, then in the loop's."""

    def __init__(self, describer: ServerDescriber, stopping: Callable[[], bool]) -> None:
        self.describer, self.pool, self.stopping = describer, describer.pool, stopping
        self._arrived: SimpleQueue[Answer | None] = SimpleQueue()  # of each request, None where it was dropped
        self._error: BaseException | None = None  # the end of everything
        self._waiting: deque[asyncio.Future[None]] = deque()  # for a free server, first come first served
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> _Traffic:
        self._loop = asyncio.new_event_loop()
        self._main = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name="sightwords-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(JOIN_S)

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Yield answers; an error is raised after those that had arrived."""
        source = iter(requests)
        num_open, is_more = 0, True
        while is_more or num_open:
            is_more = is_more and self._error is None and not self.stopping()
            # a quarter more than the servers take, so that a free place does not wait for this thread
            has_room = num_open < self.pool.capacity + max(1, self.pool.capacity // 4)
            request = next(source, None) if is_more and has_room else None
            is_more = is_more and (request is not None or not has_room)
            if request is not None:
                self._loop.call_soon_threadsafe(self._start, self._deliver, request)
                num_open += 1
            try:
                answer = self._arrived.get(timeout=0.0 if request is not None else POLL_S)
            except Empty:
                if self._error is not None:
                    break
                continue
            num_open -= 1
            if answer is not None:
                yield answer
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _serve(self) -> None:
        """Open the connections, serve until cancelled, and close them."""
        async with open_session() as self._session:
            try:
                self._start(self._watch)
                await asyncio.Event().wait()
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Callable[..., Coroutine[Any, Any, None]], *about: Any) -> None:
        task = self._loop.create_task(work(*about))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._error = self._error or task.exception()

    async def _watch(self) -> None:
        """Do what time brings; ends with an error where no server is left."""
        while True:
            now_s = time.monotonic()
            for server in self.pool.servers:
                if server.is_due(now_s):
                    self._start(self._look_at, server)
            self.pool.check(now_s)
            self._wake(len(self._waiting))
            await asyncio.sleep(POLL_S)

    async def _look_at(self, server: Server) -> None:
        """Find out whether anybody listens at a server, and whether a gateway has a server behind it."""
        server.is_looked_at = True
        try:
            reply = await server.endpoint.ask(self._session, "/models", None, min(LOOK_S, self.describer.timeout_s))
            if reply.status in (502, 503, 504):
                raise server.endpoint.error(reply, reply.status)
            with suppress(KeyError, TypeError, ValueError):  # not every server lists its models
                server.offered = [str(model["id"]) for model in json.loads(reply.text)["data"]]
            server.up()
        except ServerError as error:
            server.down(str(error), time.monotonic())
        finally:
            server.is_looked_at = False
        self.pool.report(server)

    async def _deliver(self, request: Request) -> None:
        self._arrived.put(await self._answer(request))

    async def _answer(self, request: Request) -> Answer | None:
        """Return what comes of a request in the end; None where it is dropped, since the run is to stop."""
        last: Server | None = None
        num_faults, not_before_s = 0, 0.0
        while not self.stopping():
            now_s = time.monotonic()
            server = self.pool.pick(now_s, last) if now_s >= not_before_s else None
            if server is None:
                self._waiting.append(place := self._loop.create_future())
                await place
                continue
            last = server
            try:
                return await self._ask(server, request)
            except ServerError as error:
                if error.kind == "refused":
                    return Answer(request, "", "rejected", f"refused: {error}")
                if error.kind not in ("no answer", "unreadable"):
                    continue  # the server's trouble and not the request's
                num_faults += 1
                if num_faults == MAX_TRIES:
                    return Answer(request, "", "failed", f"{error}, the last of {MAX_TRIES} tries")
                not_before_s = time.monotonic() + backoff_s(num_faults)
        return None

    def _wake(self, num: int) -> None:
        for _ in range(min(num, len(self._waiting))):
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)

    async def _ask(self, server: Server, request: Request) -> Answer:
        """Ask a server once, and again without a parameter that it refuses; note there what comes of it."""
        decoding, timeout_s = self.describer.decoding, self.describer.timeout_s
        round_number, start_s = server.limit.enter(), time.monotonic()
        try:
            while True:
                refused = frozenset(server.refused)
                body = request_body(self.pool.model, request, decoding, refused)
                reply = await server.endpoint.ask(self._session, "/chat/completions", body, timeout_s)
                if (name := refused_parameter(reply, refused)) is None:
                    break
                self.pool.adapt(server, name)
            seconds = time.monotonic() - start_s
            answer = read_answer(reply, request, decoding, server.endpoint, seconds)
            server.limit.answered(round_number, seconds)
            self.pool.note(server, None, round_number, start_s)
            return answer
        except ServerError as error:
            self.pool.note(server, error, round_number, time.monotonic())
            raise
        finally:
            server.limit.leave()
            self._wake(1)


def request_body(model: str, request: Request, decoding: Decoding, refused: Collection[str]) -> bytes:
    """Return the JSON to send; the image is spliced in, so that no encoder walks over its many characters."""
    parameters = {
        "max_completion_tokens" if "max_tokens" in refused else "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature_of(request),
        "seed": decoding.seed_of(request),
    }
    sent = {name: value for name, value in parameters.items() if name not in refused}
    image = {"type": "image_url", "image_url": {"url": ""}}
    content = request.text if request.image is None else [image, {"type": "text", "text": request.text}]
    written = json.dumps({"messages": [{"role": "user", "content": content}], "model": model, **sent})
    head, url, tail = written.partition('"url": "')  # the image's: inside of JSON text, quotes are escaped
    return b"".join((head.encode(), url.encode(), *(request.image or ()), tail.encode()))


def refused_parameter(reply: Reply, refused: Collection[str]) -> str | None:
    """Return the parameter that a server newly refuses: all that do so name it and say that it is unsupported."""
    if reply.status not in (400, 422) or not _UNSUPPORTED.search(words := reply.text[:5000]):
        return None
    return next((name for name in WITHOUT if name not in refused and re.search(rf"\b{name}\b", words)), None)


def read_answer(reply: Reply, request: Request, decoding: Decoding, endpoint: Endpoint, seconds: float) -> Answer:
    """Return what the model said after so many `seconds`; raises ServerError where the server said something else."""
    if reply.status != 200:
        raise endpoint.error(reply, reply.status)
    try:
        completion = json.loads(reply.text)
        if (error := completion.get("error")) and not completion.get("choices"):  # some send errors with status 200
            code = error.get("code") if isinstance(error, dict) else None
            raise endpoint.error(reply, code if isinstance(code, int) else 500)
        choice, usage = completion["choices"][0], completion.get("usage") or {}
        # what a model declines to say, OpenAI sends in a field of its own
        content = choice["message"].get("content") or choice["message"].get("refusal") or ""
        parts = [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
        text, is_cut = endpoint.scrub("".join(parts)), choice.get("finish_reason") == "length"
        num_prompt, num_text = usage.get("prompt_tokens"), usage.get("completion_tokens")
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise ServerError("unreadable", "the server's answer cannot be understood") from None
    cut_at = (num_text or decoding.max_new_tokens) if is_cut else None
    return Answer(request, text, cut_at=cut_at, num_prompt_tokens=num_prompt, num_text_tokens=num_text, seconds=seconds)


def data_url(data: bytes, name: str, max_side: int) -> tuple[bytes, bytes]:
    """Return a data URL in two parts, of at most `max_side` pixels a side; see `ServerDescriber.prepare`."""
    kind = ""
    # Pillow raises many kinds for odd metadata; decoding tells whether the image is readable
    with suppress(Exception), warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
        is_opaque = image.mode in ("RGB", "L") and not image.has_transparency_data
        is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) in (0, 1)
        fits = max(image.size) <= max_side and len(data) <= MAX_SENT_BYTES and not getattr(image, "is_animated", False)
        if image.format in ("JPEG", "PNG") and is_opaque and is_upright and fits:
            kind = image.format.lower()
    # A JPEG that ends with its end marker was not cut short, since these two bytes cannot occur inside of a scan; about
    # the bits in between a decoder takes any. All others are decoded, also where the file is sent, to find damage here.
    if kind != "jpeg" or not data.endswith(b"\xff\xd9"):
        decoded = thumbnail(data, name, max_side)
        if not kind:
            buffer = io.BytesIO()
            decoded.save(buffer, "JPEG", quality=92, comment=b"")
            kind, data = "jpeg", buffer.getvalue()
    return f"data:image/{kind};base64,".encode(), b64encode(data)
