"""Who may see the page: one gate before every route, thumbnails and the page's own websocket included.

- Everybody but this machine needs the token; it comes with the first address, and as a cookie from then on.
- On this machine alone no token is needed, so another site's page, open in the same browser, must be kept out: a name
  of the attacker's that leads here (DNS rebinding) is told by its `Host`, a request from elsewhere by its `Origin`.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from sightwords.browsing.config import TOKEN_VARIABLE, BrowseConfig
from sightwords.errors import ConfigError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_LEAST_TOKEN = 16
_FIELD = "token"
_HEADERS = {
    # the page loads nothing from elsewhere, sends nothing there, and shows in no other page's frame; its framework
    # compiles templates in the browser, so scripts cannot be held tighter
    "content-security-policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss:; "
        "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_NO_TOKEN = (
    "This page needs its token. Open the address with ?token=... that `sightwords browse` printed when it started, "
    f"or add the token that {TOKEN_VARIABLE} holds."
)


def read_token(config: BrowseConfig) -> tuple[str | None, bool]:
    """Return the token that visitors need, None where none is needed, and whether it was made just now.

    Raises:
        ConfigError: the token of the environment is too short.
    """
    given = os.environ.get(TOKEN_VARIABLE, "")
    if given and len(given) < _LEAST_TOKEN:
        raise ConfigError(
            f"{TOKEN_VARIABLE} has {len(given)} characters; at least {_LEAST_TOKEN} are needed. Unset it, and a token "
            "is made."
        )
    if given:
        return given, False
    return (None, False) if config.is_local else (secrets.token_urlsafe(24), True)


class Guard:
    """Lets requests through to the page, or answers them itself.

    Args:
        app: the page.
        token: what visitors need; None where only this machine can reach the page.
        port: where the page listens; cookies are shared by all ports of a machine.
    """

    def __init__(self, app: App, token: str | None, port: int) -> None:
        self.app = app
        self._token = token
        self._cookie = f"sightwords_browse_{port}"
        self._pass = _digest(token) if token else ""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if reason := self._foreign(headers):
            await _refuse(scope, receive, send, 403, reason)
        elif self._token is None or self._has_cookie(headers):
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "http" and self._has_token(scope):
            await self._welcome(scope, send)
        else:
            await _refuse(scope, receive, send, 401, _NO_TOKEN)

    def _foreign(self, headers: dict[str, str]) -> str:
        """Return why a request is another site's doing, empty where it is not."""
        host = headers.get("host", "")
        if self._token is None and not _is_this_machine(host):
            return "This page answers to the name of this machine alone: open it as http://127.0.0.1 or localhost."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "Another site's page may not use this one."
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return "Another site's page may not use this one."
        return ""

    def _has_cookie(self, headers: dict[str, str]) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), self._pass.encode())

    def _has_token(self, scope: Message) -> bool:
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get(_FIELD, "")
        assert self._token is not None
        return hmac.compare_digest(given.encode(), self._token.encode())

    async def _welcome(self, scope: Message, send: Send) -> None:
        """Set the cookie and lead to the same address without the token, which else stayed in the browser's history."""
        rest = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1")) if pair[0] != _FIELD]
        path = "/" + scope["path"].lstrip("/")  # `//elsewhere` would lead to another site
        target = path + (f"?{urlencode(rest)}" if rest else "")
        cookie = f"{self._cookie}={self._pass}; Path=/; HttpOnly; SameSite=Strict"
        if scope.get("scheme") == "https":
            cookie += "; Secure"
        # a page that leads on, not a redirect: after one from another place the browser keeps a strict cookie to itself
        body = (
            f'<!doctype html><meta http-equiv="refresh" content="0;url={_attribute(target)}"><title>sightwords</title>'
        )
        await _answer(send, 200, "text/html; charset=utf-8", body, {"set-cookie": cookie})


def _digest(token: str) -> str:
    return hashlib.sha256(f"sightwords browse {token}".encode()).hexdigest()


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def _is_this_machine(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_encoded(_HEADERS)]
        await send(message)

    return sending


async def _refuse(scope: Message, receive: Receive, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()  # its `connect`
        await send({"type": "websocket.close", "code": 1008})
        return
    await _answer(send, status, "text/plain; charset=utf-8", reason + "\n", {})


async def _answer(send: Send, status: int, kind: str, body: str, more: dict[str, str]) -> None:
    headers = {"content-type": kind, "cache-control": "no-store", **_HEADERS, **more}
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body.encode()})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
