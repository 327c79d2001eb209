"""The web server of the page: its socket, its gate, its end."""

from __future__ import annotations

import contextlib
import socket
import warnings
from dataclasses import dataclass

from sightwords.browsing.auth import Guard, read_token
from sightwords.browsing.browser import Browser
from sightwords.browsing.config import TOKEN_VARIABLE, BrowseConfig
from sightwords.errors import ConfigError, MissingExtraError


@dataclass(frozen=True)
class Door:
    """Where the page listens, and what it asks of visitors.

    Attributes:
        socket: bound, not yet listening.
        token: what visitors need; None where they need none.
        is_new: whether the token was made just now, so that it has to be told.
    """

    socket: socket.socket
    token: str | None
    is_new: bool

    @property
    def port(self) -> int:
        """The port that it is bound to."""
        return int(self.socket.getsockname()[1])


def open_door(config: BrowseConfig) -> Door:
    """Return the place to listen at.

    Raises:
        ConfigError: the address cannot be had, or the token of the environment is too short.
    """
    token, is_new = read_token(config)
    try:
        family, kind, _, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"Cannot listen at {config.host}, port {config.port}: {reason}. Name another --port (0 takes a free one) "
            "or --host."
        ) from None
    return Door(found, token, is_new)


def greeting(config: BrowseConfig, door: Door) -> str:
    """Return what is told when the page is there; a token of the environment is not told."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"http://{host}:{door.port}/"
    lines = [f"Looking at {config.descriptions}: {address}{f'?token={door.token}' if door.is_new else ''}"]
    if door.is_new:
        lines.append("  Whoever has this address can see and change the descriptions; it is shown this once.")
    elif door.token is not None:
        lines.append(f"  Visitors need the token that {TOKEN_VARIABLE} holds: {address}?token=...")
    if not config.is_local:
        lines.append("  Everything is sent unencrypted; outside of a trusted network use an SSH tunnel instead.")
    return "\n".join([*lines, "  Ctrl-C ends it."])


def check_library() -> None:
    """Raise where the web framework is not installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        import nicegui  # noqa: F401
    except ImportError:
        raise MissingExtraError("nicegui", "browse") from None


def serve(browser: Browser, door: Door) -> None:
    """Serve the page until the process is told to end."""
    import uvicorn

    from sightwords.browsing.page import build

    guard = Guard(build(browser), door.token, door.port)
    # no access log: the address of the first visit holds the token
    options = uvicorn.Config(
        guard, log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=1
    )
    # nicegui looks for the server among all objects, also of torch, some of which then warn that they are deprecated
    warnings.filterwarnings("ignore", category=FutureWarning, module="nicegui")
    with contextlib.suppress(KeyboardInterrupt):  # the usual end
        uvicorn.Server(options).run(sockets=[door.socket])
