"""The servers of a describer: which one gets the next request, which one rests, and which one is left out.

A server *rests* where it asks to (Retry-After) or says that it is overloaded. It is *down* while nobody listens there,
or after several faults in a row: it is then looked at again after a growing pause, and begins with one request. It is
*left out* for good where it refuses our key or has no such model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from sightwords.descriptions.describers import KEY_VARIABLES
from sightwords.descriptions.describers.endpoint import Endpoint, ServerError
from sightwords.descriptions.describers.limiter import AdaptiveLimit
from sightwords.errors import UnavailableError

MAX_FAULTS_IN_A_ROW = 8  # then the server is down, whatever it says
KEPT_IF_OVERLOADED, KEPT_IF_FAULTY = 0.75, 0.5  # of the limit: an overloaded server answers, and is nearly right
# what a server does that refuses a parameter
WITHOUT = {
    "max_tokens": "wants max_completion_tokens instead of max_tokens",
    "seed": "takes no seed, so sampled answers will differ from run to run",
    "temperature": "takes no temperature, so its own holds for all answers, those meant to be greedy included",
}
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0


def backoff_s(num_times: int) -> float:
    """Return seconds to pause after `num_times` failures: full jitter (Brooker 2015, "Exponential Backoff")."""
    return random.uniform(0, min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (num_times - 1)))


class Server:
    """One server and what is known about it; `concurrency` requests at once at first.

    Times are in seconds, `now_s` of `time.monotonic()`; `wait_s` is how long it is left alone.
    """

    def __init__(self, endpoint: Endpoint, concurrency: int, timeout_s: float) -> None:
        self.endpoint = endpoint
        # an answer that takes a quarter of the time limit on average takes all of it now and then
        self.limit = AdaptiveLimit(concurrency, timeout_s / 4)
        self.refused: set[str] = set()  # names of parameters
        self.offered: list[str] = []  # names of models
        self.left_out = self.trouble = ""  # why it is left out for good; what it said last when something was wrong
        self.silent_since_s: float | None = None  # since when nothing but trouble comes from it
        self.is_reached = False  # whether it was ever found to listen
        self.is_down = True  # until it was looked at
        self.is_looked_at = self.is_reported_down = False
        self._rests_until_s = 0.0
        self._faulty_since_s: float | None = None
        self._num_faults = self._num_rests = 0

    def is_free(self, now_s: float) -> bool:
        """Return whether it takes a request now."""
        is_ready = not self.left_out and not self.is_down and now_s >= self._rests_until_s
        return is_ready and self.limit.num_free > 0

    def is_due(self, now_s: float) -> bool:
        """Return whether it is down and the time has come to look at it again."""
        return self.is_down and not self.is_looked_at and not self.left_out and now_s >= self._rests_until_s

    def answered(self) -> None:
        """Note that it answered as it should."""
        self.silent_since_s = self._faulty_since_s = None
        self._num_faults = self._num_rests = 0

    def rest(self, words: str, now_s: float, wait_s: float | None = None) -> None:
        """Send nothing for a while: as long as it asks for, else ever longer; many errors at once make one pause."""
        self.trouble = words
        if self.silent_since_s is None:
            self.silent_since_s = self._faulty_since_s or now_s
        if wait_s is not None:
            self._rests_until_s = max(self._rests_until_s, now_s + wait_s)
        elif now_s >= self._rests_until_s:
            self._num_rests += 1
            self._rests_until_s = now_s + backoff_s(self._num_rests)

    def down(self, words: str, now_s: float) -> None:
        """Note that it is out of order."""
        self.rest(words, now_s)
        self.is_down = True

    def up(self) -> None:
        """Try it, with one request at first where it was out of order."""
        if self.is_reached:
            self.limit.restart(1)
        self.is_down, self.is_reached = False, True

    def faulty(self, words: str, now_s: float) -> None:
        """Note a fault that may be the server's or the request's; after several in a row it is the server's."""
        self._num_faults += 1
        self._faulty_since_s = self._faulty_since_s or now_s
        if self._num_faults >= MAX_FAULTS_IN_A_ROW:
            self.down(words, now_s)


class ServerPool:
    """All servers of a describer; `now_s` is `time.monotonic()`, `notices` tells the user of changes, oldest first."""

    def __init__(self, servers: Sequence[Server], model: str, patience_s: float) -> None:
        self.servers, self.model, self.patience_s = servers, model, patience_s
        self.notices: list[str] = []

    @property
    def capacity(self) -> int:
        """Requests that may be open at all servers together."""
        return sum(server.limit.limit for server in self.servers if not server.left_out and not server.is_down)

    def pick(self, now_s: float, avoided: Server | None = None) -> Server | None:
        """Return the server with the largest free part of its limit, None without one; `avoided` comes last."""
        free = [server for server in self.servers if server.is_free(now_s)]
        free = [server for server in free if server is not avoided] or free
        return max(free, key=lambda server: server.limit.num_free / server.limit.limit, default=None)

    def note(self, server: Server, error: ServerError | None, round_number: int, now_s: float) -> None:
        """Take note of an answer or error to a request of this `round_number` of the server's limit."""
        if error is None or error.kind == "refused":
            server.answered()
        elif error.kind == "not served":
            self._leave_out(server, error)
        elif error.kind == "overloaded":
            server.limit.overloaded(round_number, KEPT_IF_OVERLOADED)
            wait_s = None if error.wait_s is None else min(error.wait_s, self.patience_s)
            server.rest(str(error), now_s, wait_s)
        elif error.kind == "unreachable":
            server.down(str(error), now_s)
        else:
            if error.kind == "no answer":
                server.limit.overloaded(round_number, KEPT_IF_FAULTY)
            server.faulty(str(error), now_s)
        self.report(server)

    def adapt(self, server: Server, name: str) -> None:
        """Send a server a parameter no more."""
        if name not in server.refused:
            server.refused.add(name)
            self.notices.append(f"The server at {server.endpoint.url} {WITHOUT[name]}.")

    def report(self, server: Server) -> None:
        """Notice when a server has gone down, and when it answers again."""
        url = server.endpoint.url
        if server.is_down and not server.is_reported_down:
            server.is_reported_down = True
            self.notices.append(f"The server at {url} is out of order ({server.trouble}); it is tried again.")
        elif server.is_reported_down and not server.is_down and server.silent_since_s is None:
            server.is_reported_down = False
            self.notices.append(f"The server at {url} answers again.")

    def check(self, now_s: float) -> None:
        """Raise where no server is left.

        Raises:
            UnavailableError: all are left out, or none has answered for `patience_s`, or none can be reached.
        """
        left = [server for server in self.servers if not server.left_out]
        if not left:
            raise UnavailableError(" ".join(dict.fromkeys(server.left_out for server in self.servers)))
        patience_s = self.patience_s if any(server.is_reached for server in self.servers) else 0.0
        if all(server.silent_since_s is not None and now_s - server.silent_since_s >= patience_s for server in left):
            waited = f" for {patience_s:g} s" if patience_s else ""
            troubles = ", ".join(f"{server.endpoint.url} ({server.trouble})" for server in left)
            advice = "Start it, or name another one with --describer server:MODEL@URL."
            raise UnavailableError(f"No server has answered{waited}: {troubles}. {advice}")

    def _leave_out(self, server: Server, error: ServerError) -> None:
        if server.left_out:
            return
        why = f"cannot be used ({error})."
        if error.status in (401, 402, 403):
            why = f"refuses access ({error}). Set a valid API key in {' or '.join(f'${k}' for k in KEY_VARIABLES)}."
        elif error.status == 404:
            names = ", ".join(server.endpoint.scrub(name) for name in server.offered[:20])
            hint = f"It offers: {names}." if names else "It lists no model; the address of most servers ends in /v1."
            why = f"knows no model {self.model!r}, or no such address ({error}). {hint}"
        server.left_out = f"The server at {server.endpoint.url} {why}"
        if any(not other.left_out for other in self.servers):
            self.notices.append(f"{server.left_out} The other servers go on without it.")
