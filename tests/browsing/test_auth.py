"""Who may see the page: the token, the cookie, and other sites' pages."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("starlette", reason="nicegui is not installed")

from sightwords.browsing.auth import Auth, read_token
from sightwords.browsing.config import TOKEN_VARIABLE, BrowseConfig
from sightwords.errors import ConfigError

TOKEN = "a-token-of-some-length"
SOCKET = "/_nicegui_ws/socket.io/"
PATHS = ["/", "/summary", "/thumbnail/" + "0" * 64, "/image/" + "0" * 64, "/assets/keys.js", "/_nicegui/x", "/nowhere"]


async def page(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"the page"})


def ask(token, path="/", kind="http", **headers):
    """Return (status or what became of the websocket, headers, body)."""
    sent = []
    names = {name.replace("_", "-"): value for name, value in {"host": "127.0.0.1:8080", **headers}.items()}
    path, _, query = path.partition("?")
    encoded = [(name.encode(), value.encode()) for name, value in names.items()]
    scope = {"type": kind, "path": path, "query_string": query.encode(), "headers": encoded}

    async def receive():
        return {"type": f"{kind}.connect"}

    async def send(message):
        sent.append(message)

    asyncio.run(Auth(page, token, 8080)(scope, receive, send))
    if kind == "websocket":
        return sent[0]["type"], {}, ""
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"].decode()


def test_without_the_token_nothing_is_shown():
    for path in PATHS:
        status, _, body = ask(TOKEN, path)
        assert status == 401
        assert "token" in body
        assert TOKEN not in body
    for wrong in ("", "wrong", f"{TOKEN}x", TOKEN[:-1], "é"):
        assert ask(TOKEN, f"/?token={wrong}")[0] == 401
    assert ask(TOKEN, f"{SOCKET}?token={TOKEN}", "websocket")[0] == "websocket.close"  # it needs the cookie


def test_the_token_becomes_a_cookie_that_holds_another_text_and_opens_everything():
    status, headers, body = ask(TOKEN, f"/summary?class=a%22b&token={TOKEN}")
    assert status == 200
    assert "/summary?class=a%22b" in body
    cookie = headers["set-cookie"]
    assert TOKEN not in cookie + body
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    own = cookie.partition(";")[0]
    assert own.startswith("sightwords_browse_8080=")
    for path in PATHS:
        assert ask(TOKEN, path, cookie=f"other=1; {own}")[0] == 200
    assert ask(TOKEN, SOCKET, "websocket", cookie=own)[0] == "websocket.accept"
    assert ask(TOKEN, "/", cookie=own[:-1] + "!")[0] == 401
    assert ask(TOKEN, "/", cookie=own.replace("8080", "8081"))[0] == 401


def test_the_first_address_leads_to_no_other_site():
    assert 'url=/evil.example/"' in ask(TOKEN, f"//evil.example/?token={TOKEN}")[2]
    assert "<script>" not in ask(TOKEN, f'/"><script>alert(1)</script>?token={TOKEN}')[2]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "127.5.6.7"])
def test_this_machine_needs_no_token(host):
    assert ask(None, host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example:8080", "localhost.evil.example", "", "127.0.0.1.nip.io", "10.0.0.1"])
def test_a_foreign_name_that_leads_to_this_machine_is_refused(host):
    for kind, refused in (("http", 403), ("websocket", "websocket.close")):
        assert ask(None, "/", kind, host=host)[0] == refused


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9999", "null"])
def test_another_sites_page_may_not_connect(origin):
    assert ask(None, SOCKET, "websocket", origin=origin)[0] == "websocket.close"
    assert ask(None, "/", origin=origin)[0] == 403
    assert ask(None, "/", "websocket", origin="http://127.0.0.1:8080")[0] == "websocket.accept"


def test_another_sites_page_may_not_show_images_or_frame_the_page():
    assert ask(None, PATHS[2], sec_fetch_site="cross-site", sec_fetch_mode="no-cors")[0] == 403
    assert ask(None, "/", sec_fetch_site="cross-site", sec_fetch_mode="navigate")[0] == 200  # a link to the page
    headers = ask(None)[1]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_every_address_but_this_machines_gets_a_new_token(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert read_token(BrowseConfig(tmp_path, host=host)) == (None, False)
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org", ""):
        (first, is_new), (second, _) = (read_token(BrowseConfig(tmp_path, host=host)) for _ in range(2))
        assert is_new
        assert len(first) >= 32
        assert first != second


def test_the_environments_token_is_taken_and_never_shown(tmp_path, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert read_token(BrowseConfig(tmp_path, host="0.0.0.0")) == (TOKEN, False)
    assert read_token(BrowseConfig(tmp_path)) == (TOKEN, False)
    monkeypatch.setenv(TOKEN_VARIABLE, "short-secret")
    with pytest.raises(ConfigError, match="12 characters") as error:
        read_token(BrowseConfig(tmp_path))
    assert "short-secret" not in str(error.value)
