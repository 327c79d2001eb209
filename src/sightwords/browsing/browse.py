"""`sightwords browse`: serve the page of a description set until the user ends it."""

from __future__ import annotations

import contextlib
import socket
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sightwords.browsing.config import TOKEN_VARIABLE, BrowseConfig, is_loopback
from sightwords.descriptions.schema import Action
from sightwords.descriptions.store import embed_command
from sightwords.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from sightwords.browsing.browser import Browser

_DONE: dict[Action, str] = {"edit": "edited", "reject": "rejected", "ask": "to be asked again", "restore": "restored"}


@dataclass
class BrowseResult:
    """What was changed while the page was open.

    Attributes:
        descriptions: the set.
        num_reviews: action -> how often it was taken.
        num_labels: images that got a label.
    """

    descriptions: Path
    num_reviews: dict[Action, int] = field(default_factory=dict)
    num_labels: int = 0

    @property
    def next_command(self) -> str:
        """The command to run next; empty where nothing was changed."""
        return embed_command(self.descriptions) if self.num_reviews else ""

    def summary(self) -> str:
        """Return what was changed, in one line."""
        counts = ", ".join(f"{self.num_reviews[a]} {word}" for a, word in _DONE.items() if a in self.num_reviews)
        if self.num_labels:
            counts += f"{', ' if counts else ''}{self.num_labels} labeled"
        line = f"Closed {self.descriptions}: {counts or 'nothing was changed'}"
        if self.num_reviews.get("ask"):
            line += "; run the same `sightwords describe` as before to ask again for those images"
        return line


def browse(config: BrowseConfig) -> BrowseResult:
    """Serve the page of a description set until Ctrl-C.

    Raises:
        ArtifactError: the description set or the embedding set is missing or damaged.
        DataError: the images cannot be used.
        ConfigError: the address cannot be had, the token is too short, or the embedding set cannot be searched.
        MissingExtraError: nicegui is not installed.
    """
    try:
        import nicegui  # noqa: F401
    except ImportError:
        raise MissingExtraError("nicegui", "browse") from None
    from sightwords.browsing.auth import read_token
    from sightwords.browsing.browser import Browser

    token, is_new = read_token(config)
    with _bound_socket(config) as listener, Browser(config) as browser:
        if config.label:
            _ = browser.label_tasks  # a wrong table is told before the address
        print(_banner(config, listener.getsockname()[1], token, is_new), flush=True)
        _serve(browser, listener, token)
        return BrowseResult(config.descriptions, browser.num_reviews, browser.num_labels)


def _bound_socket(config: BrowseConfig) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {config.host}, port {config.port}: {error.strerror or error}. Name another --port (0 "
            "takes a free one) or --host."
        ) from None
    return found


def _banner(config: BrowseConfig, port: int, token: str | None, is_new: bool) -> str:
    """Return what is printed once the page is there; a token of the environment is not shown."""
    address = f"http://{f'[{config.host}]' if ':' in config.host else config.host}:{port}/"
    address += "label" if config.label else ""
    lines = [f"Browsing {config.descriptions}: {address}{f'?token={token}' if is_new else ''}"]
    if is_new:
        lines.append("  Anyone with this address can see and change the descriptions; it is shown only once.")
    elif token is not None:
        lines.append(f"  Visitors need the token that {TOKEN_VARIABLE} holds: {address}?token=...")
    if not is_loopback(config.host):
        lines.append("  Nothing is encrypted; outside a trusted network use an SSH tunnel instead.")
    return "\n".join([*lines, "  Press Ctrl-C to stop."])


def _serve(browser: Browser, listener: socket.socket, token: str | None) -> None:
    import uvicorn

    from sightwords.browsing.auth import Auth
    from sightwords.browsing.page import build

    app = Auth(build(browser), token, listener.getsockname()[1])
    # no access log: the address of the first visit holds the token
    options = uvicorn.Config(app, log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=1)
    # nicegui looks for the server among all objects, also of torch, some of which then warn that they are deprecated
    warnings.filterwarnings("ignore", category=FutureWarning, module="nicegui")
    with contextlib.suppress(KeyboardInterrupt):  # the usual end
        uvicorn.Server(options).run(sockets=[listener])
