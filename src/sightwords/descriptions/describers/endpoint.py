"""Where a server is, its secrets held apart from what may be stored, shown and logged, and one HTTP request to it."""

from __future__ import annotations

import errno
import json
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from sightwords.descriptions.describers import KEY_VARIABLES
from sightwords.errors import ConfigError, MissingExtraError

try:
    import aiohttp
except ImportError:
    raise MissingExtraError("aiohttp", "server") from None

MAX_SHOWN = 300  # characters of what a server said that are kept
MAX_ANSWER_BYTES = 4 * 2**20  # 80,000 words are half a megabyte
CONNECT_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 4.0  # common servers close idle connections after 5 s, when a request may be on its way: we are earlier


class ServerError(Exception):
    """What comes of a request other than an answer.

    Args:
        kind: `refused`, this request for good; `not served`, all of ours for good (wrong key, unknown model, wrong
            address); `overloaded`, it wants fewer requests or a pause; `unreachable`, nobody listens; `no answer`, it
            failed, the connection broke or time ran out; `unreadable`, what it sent cannot be understood.
        words: the server's or the system's own, without secrets.
        status: the HTTP status, 0 where there is none.
        wait_s: how long the server asks to wait, in seconds; None where it does not say.
    """

    Kind = Literal["refused", "not served", "overloaded", "unreachable", "no answer", "unreadable"]

    def __init__(self, kind: Kind, words: str, status: int = 0, wait_s: float | None = None) -> None:
        super().__init__(words)
        self.kind, self.status, self.wait_s = kind, status, wait_s


class Reply(NamedTuple):
    """An HTTP answer; headers are found by names of any case."""

    status: int
    headers: Mapping[str, str]
    text: str

    def words(self, status: int) -> str:
        """Return a status and the server's own words: `400: the image is too large`.

        They come as OpenAI writes them ({"error": {"message"}}), as FastAPI does ({"detail"}), flat, or as plain text.
        """
        words: Any = self.text
        with suppress(ValueError):
            words = json.loads(words)
        for name in ("error", "detail", "message"):
            if isinstance(words, dict) and words.get(name):
                words = words[name]
        words = words if isinstance(words, str) and words else self.text
        return f"{status}: {words.strip() or 'no reason given'}"


@dataclass(frozen=True)
class Endpoint:
    """A server's address; only `url` may be shown: scheme, host, port and path, without user, password or query."""

    url: str
    authorization: str = field(repr=False)  # of the header: user and password of the URL if it has them, else the key
    query: Mapping[str, str] = field(repr=False)  # of the URL, sent with every request
    proxy: str | None = field(repr=False)  # that the environment names for this server

    async def ask(self, session: aiohttp.ClientSession, path: str, body: bytes | None, timeout_s: float) -> Reply:
        """Return the answer to a POST of JSON, or to a GET where there is no body; raises ServerError without one.

        `timeout_s` is the longest wait for the whole answer, in seconds.
        """
        url = f"{self.url}{path}?{urlencode(self.query)}" if self.query else self.url + path
        headers = {"Authorization": self.authorization}
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, timeout_s))
        options: Any = {"headers": headers, "timeout": timeout, "proxy": self.proxy, "allow_redirects": False}
        try:
            async with session.request("POST" if body else "GET", url, data=body, **options) as response:
                received = bytearray()
                async for part in response.content.iter_any():
                    received += part
                    if len(received) > MAX_ANSWER_BYTES:
                        response.close()
                        raise ServerError("unreadable", f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
                return Reply(response.status, response.headers, received.decode("utf-8", "replace"))
        except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError
            problem = self._problem(error, timeout_s)
        raise problem  # outside of the block above: what aiohttp raised may hold headers, and must not hang on

    def _problem(self, error: Exception, timeout_s: float) -> ServerError:
        number = getattr(getattr(error, "os_error", error), "errno", None) or 0
        words = self.shown(os.strerror(number) if number > 0 else str(error) or type(error).__name__)
        if number in (errno.EMFILE, errno.ENFILE):  # no fault of the server: fewer requests need fewer open files
            return ServerError("overloaded", words)
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return ServerError("unreachable", words)
        if isinstance(error, aiohttp.ClientResponseError):
            return ServerError("unreadable", f"the server's answer cannot be understood ({words})")
        if isinstance(error, TimeoutError) and number == 0:
            return ServerError("no answer", f"no answer within {timeout_s:g} s")
        return ServerError("no answer", f"connection lost ({words})")

    def error(self, reply: Reply, status: int) -> ServerError:
        """Return what an answer with this status means, which may stand in its body."""
        words, wait_s = self.shown(reply.words(status)), _retry_after_s(reply.headers)
        if 300 <= status < 400:
            location = self.shown(reply.headers.get("Location", "elsewhere"))
            return ServerError("not served", f"{status}: it redirects to {location}; name that address", status)
        if status in (401, 402, 403, 404):
            return ServerError("not served", words, status)
        if status == 429 or (status == 503 and wait_s is not None):
            return ServerError("overloaded", words, status, wait_s)
        if 400 <= status < 500 and status not in (408, 409, 425):
            return ServerError("refused", words, status)
        return ServerError("no answer", f"the server failed: {words}", status)

    def scrub(self, text: str) -> str:
        """Return `text` with every secret of this endpoint replaced by `***`."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def shown(self, text: str) -> str:
        """Return what a server or library said, without secrets, as one line; scrubbed first, so no cut halves one."""
        return " ".join(self.scrub(text).split())[:MAX_SHOWN]

    @cached_property
    def _secrets(self) -> list[str]:
        kind, _, token = self.authorization.partition(" ")
        found = [token, *self.query.values(), unquote(urlsplit(self.proxy or "").password or "")]
        if kind == "Basic":
            pair = b64decode(token).decode()
            found += [pair, pair.partition(":")[2]]
        both_ways = {form for secret in found for form in (secret, quote(secret, safe=""))}
        return sorted((form for form in both_ways if len(form) >= 6), key=len, reverse=True)  # others are plain words


def read_endpoint(url: str, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Return the endpoint of a URL; the API key comes from $SIGHTWORDS_API_KEY, else $OPENAI_API_KEY, else "none".

    Raises:
        ConfigError: the URL has no host, its port is not a number, or the key cannot be sent.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError("The server's URL has no valid host and port. Write it as http://HOST:PORT/v1.")
    name = next((name for name in KEY_VARIABLES if environ.get(name, "").strip()), "")
    api_key = environ.get(name, "none").strip()
    if not api_key.isascii() or not api_key.isprintable():
        raise ConfigError(f"The API key in ${name} has characters that no HTTP header can hold. Copy it again.")
    authorization = f"Bearer {api_key}"
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode()
    address = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    shown = urlunsplit((parts.scheme, address, parts.path.rstrip("/"), "", ""))
    proxy = getproxies().get(parts.scheme, "")
    is_used = proxy.startswith("http") and not proxy_bypass(host)
    return Endpoint(shown, authorization, dict(parse_qsl(parts.query)), proxy if is_used else None)


def open_session() -> aiohttp.ClientSession:
    """Return connections to servers, for the running event loop."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
    # no compression: answers are short, and their length must be bounded
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=headers)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long a server asks to wait: Retry-After holds seconds or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("Retry-After", "")
    with suppress(ValueError):
        return wait_s if (wait_s := float(value)) >= 0 else None
    with suppress(ValueError):
        until = parsedate_to_datetime(value)
        return max(0.0, until.replace(tzinfo=until.tzinfo or UTC).timestamp() - time.time())
    return None
