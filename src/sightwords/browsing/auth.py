"""Who may see the page: one gate before every route, thumbnails and the page's websocket included.

- Everybody but this machine needs the token; it comes with the first address, and as a cookie from then on.
- This machine needs no token, so other sites' pages, open in the same browser, must be kept out: `Host` gives away a
  foreign name that resolves to this machine (DNS rebinding), `Origin` a request from elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import os
import secrets
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from sightwords.browsing.config import TOKEN_VARIABLE, BrowseConfig, is_loopback
from sightwords.errors import ConfigError

_MIN_TOKEN_LENGTH = 16
_HEADERS = {
    # the page loads nothing from elsewhere, sends nothing there, and shows in no other page's frame; its framework
    # compiles templates in the browser, so scripts cannot be restricted further
    "content-security-policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss:; "
        "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_NO_STORE = {"cache-control": "no-store", **_HEADERS}
_NO_TOKEN = (
    "This page needs a token. Open the address with ?token=... that `sightwords browse` printed when it started, or "
    f"add the token that {TOKEN_VARIABLE} holds."
)
_OTHER_SITE = "Another site's page may not use this one."


def read_token(config: BrowseConfig) -> tuple[str | None, bool]:
    """Return the token that visitors need, None where none is needed, and whether it was generated just now.

    Raises:
        ConfigError: the token of the environment is too short.
    """
    given = os.environ.get(TOKEN_VARIABLE, "")
    if given and len(given) < _MIN_TOKEN_LENGTH:
        raise ConfigError(
            f"{TOKEN_VARIABLE} has {len(given)} characters; it needs at least {_MIN_TOKEN_LENGTH}. Unset it to have a "
            "token generated."
        )
    if given:
        return given, False
    return (None, False) if is_loopback(config.host) else (secrets.token_urlsafe(24), True)


class Auth:
    """Lets requests through to the page, or answers them itself.

    Args:
        app: the page.
        token: what visitors need; None where only this machine can reach the page.
        port: where the page listens; cookies are shared by all ports of a machine.
    """

    def __init__(self, app: ASGIApp, token: str | None, port: int) -> None:
        self._app, self._token = app, token
        self._cookie = f"sightwords_browse_{port}"
        self._cookie_value = hashlib.sha256(f"sightwords browse {token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        visitor = HTTPConnection(scope)
        answer: ASGIApp
        if reason := self._foreign(visitor.headers):
            answer = PlainTextResponse(f"{reason}\n", 403, _NO_STORE)
        elif self._token is None or _same(visitor.cookies.get(self._cookie, ""), self._cookie_value):
            await self._app(scope, receive, _with_headers(send))
            return
        elif scope["type"] == "http" and _same(visitor.query_params.get("token", ""), self._token):
            answer = self._welcome(visitor)
        else:
            answer = PlainTextResponse(f"{_NO_TOKEN}\n", 401, _NO_STORE)
        await (WebSocketClose(1008) if scope["type"] == "websocket" else answer)(scope, receive, send)

    def _foreign(self, headers: Headers) -> str:
        """Return why a request is another site's doing, empty where it is not."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._token is None and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return "This page answers to the name of this machine alone: open it as http://127.0.0.1 or localhost."
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _OTHER_SITE
        is_cross_site = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
        return _OTHER_SITE if is_cross_site else ""

    def _welcome(self, visitor: HTTPConnection) -> HTMLResponse:
        """Set the cookie and lead to the address without the token, which would stay in the browser's history."""
        rest = [(name, value) for name, value in visitor.query_params.multi_items() if name != "token"]
        path = "/" + visitor.scope["path"].lstrip("/")  # `//elsewhere` would lead to another site
        target = path + (f"?{urlencode(rest)}" if rest else "")
        # a page that leads on, not a redirect: after one from another place the browser keeps a strict cookie to itself
        refresh = f'<meta http-equiv="refresh" content="0;url={html.escape(target)}">'
        answer = HTMLResponse(f"<!doctype html>{refresh}<title>sightwords</title>", headers=_NO_STORE)
        is_https = visitor.scope.get("scheme") == "https"
        answer.set_cookie(self._cookie, self._cookie_value, secure=is_https, httponly=True, samesite="strict")
        return answer


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message.setdefault("headers", [])
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sending
