"""HTTP through aiohttp: one request, one answer, bounded in time and size, with errors that hold no secret."""

from __future__ import annotations

import asyncio
import errno
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sightwords.descriptions.describers.server.chat_protocol import (
    FaultError,
    NoAnswerError,
    OverloadedError,
    Reply,
    UnreachableError,
)
from sightwords.descriptions.describers.server.endpoint import Endpoint
from sightwords.errors import MissingExtraError

if TYPE_CHECKING:
    import aiohttp

MAX_ANSWER_BYTES = 4 * 2**20  # 80,000 words are half a megabyte
CONNECT_TIMEOUT_S = 10.0
KEEP_S = (
    4.0  # idle connections are closed by us: common servers close theirs after 5 s, and a request may be on its way
)


class HttpClient:
    """Talks to servers; made and used inside one event loop, in an `async with` block.

    Args:
        timeout_s: longest wait for an answer, from connecting to the last byte.

    Raises:
        MissingExtraError: aiohttp is not installed.
    """

    def __init__(self, timeout_s: float) -> None:
        self.aiohttp = load_aiohttp()
        self.timeout_s = timeout_s

    async def __aenter__(self) -> HttpClient:
        connector = self.aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_S)
        timeout = self.aiohttp.ClientTimeout(total=None, sock_connect=min(CONNECT_TIMEOUT_S, self.timeout_s))
        jar = self.aiohttp.DummyCookieJar()
        self._session: aiohttp.ClientSession = self.aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=jar
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> Reply:
        """Return the answer to a POST of JSON.

        Raises:
            UnreachableError: nobody listens there.
            OverloadedError: this machine has no file descriptor left for a further connection.
            NoAnswerError: the connection broke, or no answer came in time.
            FaultError: the answer is too long, or no HTTP.
        """
        headers = {**endpoint.headers, "Content-Type": "application/json"}
        return await self._ask("POST", endpoint, path, self.timeout_s, headers=headers, data=body)

    async def get(self, endpoint: Endpoint, path: str, timeout_s: float) -> Reply:
        """Return the answer to a GET; raises as `post` does."""
        return await self._ask("GET", endpoint, path, min(timeout_s, self.timeout_s), headers=endpoint.headers)

    async def _ask(self, method: str, endpoint: Endpoint, path: str, timeout_s: float, **options: Any) -> Reply:
        # errors are raised outside of the except block: what aiohttp raised may hold headers, and must not hang on
        problem: Exception
        try:
            async with asyncio.timeout(timeout_s):
                url = endpoint.address(path)
                async with self._session.request(
                    method, url, proxy=endpoint.proxy, allow_redirects=False, **options
                ) as response:
                    return Reply(response.status, response.headers, await _bounded(response))
        except TimeoutError as error:
            problem = self._timed_out(error, timeout_s)
        except self.aiohttp.ClientConnectorError as error:
            # too many open files is no fault of the server: fewer requests at once need fewer
            kind = OverloadedError if error.errno in (errno.EMFILE, errno.ENFILE) else UnreachableError
            problem = kind(endpoint.tell(_cause(error)))
        except (self.aiohttp.ClientConnectionError, self.aiohttp.ClientPayloadError, OSError) as error:
            problem = NoAnswerError(f"the connection was lost ({endpoint.tell(_cause(error))})")
        except self.aiohttp.ClientError as error:
            problem = FaultError(f"the server's answer cannot be understood ({endpoint.tell(_cause(error))})")
        raise problem

    def _timed_out(self, error: TimeoutError, timeout_s: float) -> Exception:
        if isinstance(error, self.aiohttp.ConnectionTimeoutError):
            return UnreachableError("no connection within the time limit")
        return NoAnswerError(f"no answer within {timeout_s:g} s")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    num_bytes = 0
    while part := await response.content.readany():
        parts.append(part)
        num_bytes += len(part)
        if num_bytes > MAX_ANSWER_BYTES:
            response.close()
            raise FaultError(f"the server's answer is longer than {MAX_ANSWER_BYTES:,} bytes")
    return b"".join(parts) if len(parts) != 1 else parts[0]


def load_aiohttp() -> Any:
    """Return the library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import aiohttp
    except ImportError:
        raise MissingExtraError("aiohttp", "server") from None
    return aiohttp


def _cause(error: Exception) -> str:
    """Return in a few words what went wrong: the system's own words, where it was the system."""
    system = getattr(error, "os_error", error)
    if isinstance(system, OSError) and system.errno is not None and system.errno > 0:
        return os.strerror(system.errno)
    return str(getattr(system, "strerror", None) or error) or type(error).__name__
