"""`server:MODEL@URL`: a model behind any OpenAI-compatible server, asked through the openai SDK."""

from __future__ import annotations

import base64
import io
import logging
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from PIL import Image

from sightwords.artefacts.description_set import DescriberInfo
from sightwords.errors import MissingExtraError, ModelError, RefusedRequestError, UnavailableError
from sightwords.stages.describe.describers.base import Answer, Decoding, Request, answered, decode_within
from sightwords.stages.describe.describers.endpoint import KEY_VARIABLES, read_endpoint
from sightwords.stages.describe.describers.loop_thread import LoopThread

if TYPE_CHECKING:
    from openai import AsyncOpenAI

NUM_RETRIES = 4  # of one request, by the SDK, for 429, 5xx, timeouts and lost connections; it honours Retry-After
REACH_TIMEOUT_S = 10.0
JPEG_QUALITY = 92
MAX_SAID = 300  # characters of a server's error that are kept
_ORIENTATION = 0x0112


class ServerDescriber:
    """Describes through a server, with several requests at once.

    Args:
        model: the model's name as the server knows it.
        url: the server's URL, mostly ending in /v1.
        decoding: how answers are drawn.
        concurrency: requests at once.
        timeout_s: longest wait for an answer.

    Raises:
        MissingExtraError: the openai SDK is not installed.
        ConfigError: the URL is not usable.
    """

    def __init__(
        self, model: str, url: str, decoding: Decoding, concurrency: int = 16, timeout_s: float = 120.0
    ) -> None:
        self.openai = _openai()
        self.model = model
        self.endpoint = read_endpoint(url)
        self.decoding = decoding
        self.concurrency = concurrency
        self.timeout_s = timeout_s
        self.num_ahead = 2 * concurrency

    def info(self) -> DescriberInfo:
        """Return the model's name and the URL without secrets; servers do not tell a revision."""
        identifier = f"server:{self.model}@{self.endpoint.url}"
        return DescriberInfo(identifier, self.model, "", self.decoding.parameters())

    def prepare(self, data: bytes, name: str) -> str:
        """Return the picture as a data URL: the file itself where the server would see the same, else a JPEG.

        Raises:
            UnreadableImageError: the bytes cannot be turned into pixels.
        """
        image = decode_within(data, name, self.decoding.max_side)
        kind = sendable_format(data, self.decoding.max_side)
        if kind is None:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=JPEG_QUALITY)
            data, kind = buffer.getvalue(), "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"

    def describe(self, requests: Iterable[Request]) -> Generator[Answer]:
        """Yield answers as they arrive; at most `concurrency` requests are open at any time.

        Raises:
            UnavailableError: the server cannot be reached, or refuses the key or the model.
        """
        done: SimpleQueue[Future[Answer]] = SimpleQueue()
        num_open = 0
        with LoopThread() as loop:
            client = self._client()
            try:
                loop.run(self._reach(client))
                for request in requests:
                    loop.submit(self._ask(client, request)).add_done_callback(done.put)
                    num_open += 1
                    while num_open >= self.concurrency or not done.empty():
                        num_open -= 1
                        yield done.get().result()
                for _ in range(num_open):
                    yield done.get().result()
            except UnavailableError:
                yield from _arrived(done)
                raise
            finally:
                loop.cancel()
                loop.run(client.close())

    def _client(self) -> AsyncOpenAI:
        if self.endpoint.query:
            for name in ("httpx", "httpx2"):  # they log whole URLs at INFO, and a query may hold a key
                logging.getLogger(name).setLevel(logging.WARNING)
        client: AsyncOpenAI = self.openai.AsyncOpenAI(
            api_key=self.endpoint.api_key,
            base_url=self.endpoint.url,
            default_headers=dict(self.endpoint.headers),
            default_query=dict(self.endpoint.query),
            timeout=self.timeout_s,
            max_retries=NUM_RETRIES,
        )
        return client

    async def _reach(self, client: AsyncOpenAI) -> None:
        """Tell at once, without retries, that nobody listens; whatever the server answers is good enough here."""
        try:
            await client.with_options(max_retries=0, timeout=min(REACH_TIMEOUT_S, self.timeout_s)).models.list()
        except self.openai.APIConnectionError as error:
            if not isinstance(error, self.openai.APITimeoutError):
                raise self._unreachable(error) from None
        except (self.openai.APIError, ValueError):
            pass

    async def _ask(self, client: AsyncOpenAI, request: Request) -> Answer:
        start_s = time.perf_counter()
        try:
            completion = await self._complete(client, request)
            return self._answer(request, completion, time.perf_counter() - start_s)
        except UnavailableError:
            raise
        except ModelError as error:
            return Answer(request, "", "failed", str(error), seconds=time.perf_counter() - start_s)

    async def _complete(self, client: AsyncOpenAI, request: Request) -> Any:
        content = [
            {"type": "image_url", "image_url": {"url": request.picture}},
            {"type": "text", "text": request.text},
        ]
        messages: Any = [{"role": "user", "content": content}]
        try:
            return await client.chat.completions.create(
                model=self.model,
                messages=messages,
                max_tokens=self.decoding.max_new_tokens,
                temperature=self.decoding.temperature_of(request),
                seed=self.decoding.seed_of(request),
            )
        except self.openai.APIStatusError as error:
            raise await self._status_error(client, error) from None
        except self.openai.APITimeoutError:
            tries = f"{NUM_RETRIES + 1} tries of {self.timeout_s:g} s"
            raise ModelError(f"no answer within {tries}") from None
        except self.openai.APIConnectionError as error:
            if type(error.__cause__).__name__ == "ConnectError":  # nobody listens any more
                raise self._unreachable(error) from None
            raise ModelError(f"the connection was lost ({self._tell(_cause(error))})") from None
        except (self.openai.APIError, ValueError) as error:
            raise ModelError(f"the server's answer cannot be understood ({self._tell(str(error))})") from None

    async def _status_error(self, client: AsyncOpenAI, error: Any) -> ModelError:
        """Return what an HTTP status means: for the whole run, for this image for good, or for now."""
        code, url = error.status_code, self.endpoint.url
        said = self._tell(said_by(error))
        if code in (401, 402, 403):
            keys = " or ".join(f"${name}" for name in KEY_VARIABLES)
            return UnavailableError(f"The server at {url} refuses access ({said}). Set a valid API key in {keys}.")
        if code == 404:
            offered = await self._offered(client)
            return UnavailableError(
                f"The server at {url} knows no model {self.model!r}, or no such address ({said}). {offered}"
            )
        if 400 <= code < 500 and code not in (408, 409, 429):
            return RefusedRequestError(f"refused: {said}")
        return ModelError(f"the server failed: {said}")

    async def _offered(self, client: AsyncOpenAI) -> str:
        try:
            page = await client.with_options(max_retries=0).models.list()
            names = [self._tell(model.id) for model in page.data][:20]
        except (self.openai.APIError, ValueError, AttributeError, TypeError):
            return "The address of most servers ends in /v1."
        return f"It offers: {', '.join(names)}." if names else "It lists no model."

    def _answer(self, request: Request, completion: Any, seconds: float) -> Answer:
        try:
            choice = completion.choices[0]
            text = choice.message.content or ""
        except (AttributeError, IndexError, TypeError):
            raise ModelError("the server's answer cannot be understood (no choices in it)") from None
        if not isinstance(text, str):
            raise ModelError("the server's answer cannot be understood (its content is no text)")
        usage = completion.usage
        num_sent, num_back = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
        cut_at = (num_back or self.decoding.max_new_tokens) if choice.finish_reason == "length" else None
        return answered(request, self.endpoint.scrub(text), num_sent, num_back, seconds, cut_at)

    def _unreachable(self, error: Exception) -> UnavailableError:
        reason = self._tell(_cause(error))
        return UnavailableError(
            f"No server answers at {self.endpoint.url} ({reason}). Start it, or name another one with "
            "--describer server:MODEL@URL."
        )

    def _tell(self, text: str) -> str:
        """Return what a server or library said, without secrets, as one line; scrubbed first, so no cut halves one."""
        return " ".join(self.endpoint.scrub(text).split())[:MAX_SAID]


def sendable_format(data: bytes, max_side: int) -> str | None:
    """Return `jpeg` or `png` where the file can be sent as it is: upright, opaque, 8 bits, within `max_side` pixels.

    Args:
        data: bytes of a readable image file.
        max_side: largest side, in pixels.
    """
    with Image.open(io.BytesIO(data)) as image:
        plain = image.mode in ("RGB", "L") and not image.has_transparency_data
        upright = image.getexif().get(_ORIENTATION, 1) in (0, 1)
        still = not getattr(image, "is_animated", False)
        fits = max(image.size) <= max_side
        known = image.format in ("JPEG", "PNG")
        return str(image.format).lower() if known and plain and upright and still and fits else None


def said_by(error: Any) -> str:
    """Return an HTTP error's status and the server's own words: `400: the image is too large`.

    Servers word errors as OpenAI does ({"error": {"message"}}), as FastAPI does ({"detail"}), flat ({"message"}), or
    as plain text.
    """
    body = error.body
    for field in ("error", "detail", "message"):
        if isinstance(body, dict) and body.get(field):
            body = body[field]
    words = body if isinstance(body, str) and body else error.response.text
    return f"{error.status_code}: {words.strip() or 'no reason given'}"


def _arrived(done: SimpleQueue[Future[Answer]]) -> Iterator[Answer]:
    while not done.empty():
        future = done.get()
        if not future.cancelled() and future.exception() is None:
            yield future.result()


def _cause(error: Exception) -> str:
    return str(error.__cause__ if isinstance(error.__cause__, Exception) else error)


def _openai() -> Any:
    try:
        import openai
    except ImportError:
        raise MissingExtraError("openai", "server") from None
    return openai
