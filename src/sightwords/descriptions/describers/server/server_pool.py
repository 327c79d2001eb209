"""The servers of a describer: which one gets the next request, which one rests, and which one is left out.

A server is *down* while nobody listens there, or after several faults in a row: it is then looked at again after a
growing pause, and begins with one request. It *pauses* where it asks to (Retry-After) or says that it is overloaded.
It is *left out* for good where it refuses our key or has no such model.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from sightwords.descriptions.describers.server.chat_protocol import Dialect, NotServedError, OverloadedError
from sightwords.descriptions.describers.server.endpoint import KEY_VARIABLES, Endpoint
from sightwords.descriptions.describers.server.limiter import AdaptiveLimit
from sightwords.errors import UnavailableError

MAX_FAULTS_IN_A_ROW = 8  # then the server is down, whatever it says
KEPT_IF_OVERLOADED, KEPT_IF_FAULTY = 0.75, 0.5  # of the limit: an overloaded server answers, and is nearly right
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0


def backoff_s(num_times: int) -> float:
    """Return a random pause in seconds: exponential backoff with full jitter, from 0 up to twice the last bound.

    The jitter keeps those who failed together from coming back together (Brooker 2015, "Exponential Backoff And
    Jitter").

    Args:
        num_times: how often it has failed in a row, at least 1.
    """
    return random.uniform(0, min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (num_times - 1)))


class Server:
    """One server and what is known about it; times are seconds of one steady clock.

    Args:
        endpoint: where it is.
        concurrency: most requests at once.
        timeout_s: longest wait for an answer.

    Attributes:
        dialect: which parameters it takes.
        limit: how many requests may be open there.
        left_out: why it is left out for good, empty where it is not.
        trouble: what it said last when something was wrong.
        is_down: whether nothing is sent until it was looked at again.
        silent_since_s: since when nothing but trouble comes from it; None where all is well.
    """

    def __init__(self, endpoint: Endpoint, concurrency: int, timeout_s: float) -> None:
        self.endpoint = endpoint
        self.dialect = Dialect()
        # an answer that takes a quarter of the time limit on average takes all of it now and then
        self.limit = AdaptiveLimit(concurrency, timeout_s / 4)
        self.left_out = self.trouble = ""
        self.is_down = False
        self._next_look_s = self._paused_until_s = 0.0
        self.silent_since_s: float | None = None
        self._faulty_since_s: float | None = None
        self._num_faults = self._num_pauses = self._num_looks = 0

    @property
    def is_usable(self) -> bool:
        """Whether requests are sent to it, now or after a pause."""
        return not self.left_out and not self.is_down

    def is_free(self, now_s: float) -> bool:
        """Return whether it takes a request now."""
        return self.is_usable and now_s >= self._paused_until_s and self.limit.num_free > 0

    def answered(self) -> None:
        """Note that it answered as it should."""
        self.silent_since_s = self._faulty_since_s = None
        self._num_faults = self._num_pauses = self._num_looks = 0

    def overloaded(self, error: OverloadedError, now_s: float, max_wait_s: float) -> None:
        """Note that it wants a pause; many requests that are told so at once make one pause.

        Args:
            error: what it said.
            now_s: the time.
            max_wait_s: longest pause.
        """
        self._troubled(str(error), now_s)
        if error.wait_s is not None:
            self._paused_until_s = max(self._paused_until_s, now_s + min(error.wait_s, max_wait_s))
        elif now_s >= self._paused_until_s:
            self._num_pauses += 1
            self._paused_until_s = now_s + backoff_s(self._num_pauses)

    def hold(self) -> None:
        """Send nothing more until it is decided whether it is left out."""
        self._paused_until_s = math.inf

    def faulty(self, words: str, now_s: float) -> None:
        """Note a fault that may be the server's or the request's; after several in a row it is the server's."""
        self._num_faults += 1
        if self._faulty_since_s is None:
            self._faulty_since_s = now_s
        if self._num_faults >= MAX_FAULTS_IN_A_ROW:
            self.down(words, now_s, self._faulty_since_s)

    def down(self, words: str, now_s: float, since_s: float | None = None) -> None:
        """Note that it is out of order, now or since earlier."""
        self._troubled(words, now_s if since_s is None else since_s)
        if not self.is_down or self.is_due(now_s):
            self._num_looks += 1
            self._next_look_s = now_s + max(FIRST_PAUSE_S / 2, backoff_s(self._num_looks))
        self.is_down = True

    def is_due(self, now_s: float) -> bool:
        """Return whether it is down and the time has come to look at it again."""
        return self.is_down and not self.left_out and now_s >= self._next_look_s

    def up(self) -> None:
        """Try it again, with one request at first."""
        self.is_down = False
        self.limit.restart(1)

    def _troubled(self, words: str, since_s: float) -> None:
        self.trouble = words
        if self.silent_since_s is None:
            self.silent_since_s = since_s


class ServerPool:
    """All servers of a describer.

    Args:
        endpoints: where they are, at least one.
        model: what they are asked for.
        concurrency: most requests at once to each.
        timeout_s: longest wait for an answer.
        patience_s: time without any server that answers after which there is none.

    Attributes:
        notices: what the user should know about the servers, oldest first; only appended to.
    """

    def __init__(
        self, endpoints: Iterable[Endpoint], model: str, concurrency: int, timeout_s: float, patience_s: float
    ) -> None:
        self.servers = [Server(endpoint, concurrency, timeout_s) for endpoint in endpoints]
        self.model, self.patience_s = model, patience_s
        self.notices: list[str] = []
        self._told_down: set[Server] = set()

    @property
    def capacity(self) -> int:
        """Requests that may be open at all servers together."""
        return sum(server.limit.limit for server in self.servers if server.is_usable)

    def pick(self, now_s: float, avoided: Server | None = None) -> Server | None:
        """Return the server with the largest free share of its limit, None where none is free.

        Args:
            now_s: the time.
            avoided: taken only where no other is free.
        """
        free = [server for server in self.servers if server.is_free(now_s)]
        if not free:
            return None
        return max(free, key=lambda server: (server is not avoided, server.limit.num_free / server.limit.limit))

    def adapt(self, server: Server, dialect: Dialect) -> None:
        """Speak to a server as it wants from now on, and tell."""
        change = server.dialect.change_to(dialect)
        server.dialect = dialect
        self.notices.append(f"The server at {server.endpoint.url} is asked otherwise from now on: {change}.")

    def tell_change(self, server: Server) -> None:
        """Tell when a server has gone down, and when it answers again."""
        told = server in self._told_down
        if server.is_down and not told:
            self._told_down.add(server)
            said = server.endpoint.tell(server.trouble)
            self.notices.append(f"The server at {server.endpoint.url} is out of order ({said}); it is tried again.")
        elif told and not server.is_down and server.silent_since_s is None:
            self._told_down.remove(server)
            self.notices.append(f"The server at {server.endpoint.url} answers again.")

    def leave_out(self, server: Server, error: NotServedError, offered: list[str]) -> None:
        """Send nothing to a server any more, and tell why where there are others.

        Args:
            server: which one.
            error: what it said.
            offered: the models that it lists.
        """
        if server.left_out:
            return
        server.left_out = self._why_not_served(server.endpoint, error, offered)
        if any(not other.left_out for other in self.servers):
            self.notices.append(f"{server.left_out} The other servers go on without it.")

    def check(self, now_s: float) -> None:
        """Raise where no server is left.

        Raises:
            UnavailableError: all are left out, or none has answered for `patience_s`.
        """
        left = [server for server in self.servers if not server.left_out]
        if not left:
            raise UnavailableError(" ".join(dict.fromkeys(server.left_out for server in self.servers)))
        silences = [now_s - server.silent_since_s if server.silent_since_s is not None else 0.0 for server in left]
        if min(silences) > self.patience_s:
            raise UnavailableError(f"No server has answered for {self.patience_s:g} s: {self._troubles()}. {_ADVICE}")

    def nobody(self) -> UnavailableError:
        """Return the error that tells that no server can be reached at the start."""
        return UnavailableError(f"No server answers at {self._troubles()}. {_ADVICE}")

    def _troubles(self) -> str:
        return ", ".join(f"{s.endpoint.url} ({s.endpoint.tell(s.trouble)})" for s in self.servers if not s.left_out)

    def _why_not_served(self, endpoint: Endpoint, error: NotServedError, offered: list[str]) -> str:
        url, said = endpoint.url, endpoint.tell(str(error))
        if error.status in (401, 402, 403):
            keys = " or ".join(f"${name}" for name in KEY_VARIABLES)
            return f"The server at {url} refuses access ({said}). Set a valid API key in {keys}."
        if error.status == 404:
            names = ", ".join(endpoint.tell(name) for name in offered[:20])
            hint = f"It offers: {names}." if names else "It lists no model; the address of most servers ends in /v1."
            return f"The server at {url} knows no model {self.model!r}, or no such address ({said}). {hint}"
        return f"The server at {url} cannot be used ({said})."


_ADVICE = "Start it, or name another one with --describer server:MODEL@URL."
