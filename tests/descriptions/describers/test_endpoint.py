from __future__ import annotations

import asyncio
import base64
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sightwords.descriptions.describers.endpoint import Reply, ServerError, open_session, read_endpoint
from sightwords.errors import ConfigError
from support.chat_server import chat, chat_server


def test_secrets_of_the_url_are_held_apart():
    endpoint = read_endpoint("https://ann:p%40ssword@host.org:8443/v1/?key=querysecret", {})
    assert endpoint.url == "https://host.org:8443/v1"
    assert endpoint.query == {"key": "querysecret"}
    assert base64.b64decode(endpoint.authorization.removeprefix("Basic ")) == b"ann:p@ssword"
    assert not [secret for secret in ("p@ssword", "querysecret", "Basic") if secret in repr(endpoint)]


def test_the_key_comes_from_the_environment_in_order():
    both = {"SIGHTWORDS_API_KEY": "first-key", "OPENAI_API_KEY": "second-key"}
    assert read_endpoint("http://h/v1", both).authorization == "Bearer first-key"
    assert "first-key" not in repr(read_endpoint("http://h/v1", both))
    assert read_endpoint("http://h/v1", {"OPENAI_API_KEY": " second-key\n"}).authorization == "Bearer second-key"
    assert read_endpoint("http://h/v1", {"SIGHTWORDS_API_KEY": " "}).authorization == "Bearer none"


def test_a_key_that_no_header_can_hold_is_refused_without_repeating_it():
    with pytest.raises(ConfigError, match=r"\$OPENAI_API_KEY") as caught:
        read_endpoint("http://h/v1", {"OPENAI_API_KEY": "sk-secret\nX: y"})
    assert "sk-secret" not in str(caught.value)


def test_scrub_removes_every_secret_however_it_is_written_and_nothing_else(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://me:proxy%2Fpass@proxy:3128")
    endpoint = read_endpoint("http://ann:pass%2Fword@h/v1?key=query%2Fsecret", {})
    assert endpoint.proxy == "http://me:proxy%2Fpass@proxy:3128"
    assert "proxy%2Fpass" not in repr(endpoint)
    token = endpoint.authorization.removeprefix("Basic ")
    said = endpoint.scrub(f"query%2Fsecret query/secret pass%2Fword pass/word proxy%2Fpass proxy/pass {token}: a bird")
    assert said == "*** *** *** *** *** *** ***: a bird"
    assert read_endpoint("http://h/v1", {}).scrub("none of it") == "none of it"


def test_what_is_shown_is_one_short_line_that_halves_no_secret():
    endpoint = read_endpoint("http://h/v1", {"OPENAI_API_KEY": "sk-12345678"})
    assert endpoint.shown("a\n  b sk-12345678") == "a b ***"
    assert len(endpoint.shown("x" * 1000)) == 300
    assert "sk-1" not in endpoint.shown("x" * 290 + " sk-12345678")


def test_a_proxy_of_the_environment_is_used_where_no_proxy_does_not_exclude_the_host(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    assert read_endpoint("http://far/v1", {}).proxy == "http://proxy:3128"
    assert read_endpoint("http://localhost/v1", {}).proxy is None
    assert read_endpoint("https://far/v1", {}).proxy is None


@pytest.mark.parametrize("url", ["http://", "http://host:port/v1", "http://:80/v1"])
def test_a_url_without_host_or_with_a_bad_port_is_refused(url):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        read_endpoint(url, {})
    assert read_endpoint("http://[::1]:8000/v1", {}).url == "http://[::1]:8000/v1"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, "not served"), (400, "refused"), (401, "not served"), (402, "not served"), (403, "not served"),
        (404, "not served"), (408, "no answer"), (413, "refused"), (425, "no answer"), (429, "overloaded"),
        (500, "no answer"), (503, "no answer"),
    ],
)  # fmt: skip
def test_every_status_has_its_meaning(status, kind):
    error = read_endpoint("http://h/v1", {}).error(Reply(status, {}, '{"error": "words"}'), status)
    assert error.kind == kind
    assert status == 301 or f"{status}: words" in str(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("3", 3.0), (" 2.5 ", 2.5), ("-1", None), ("nan", None), ("soon", None),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_all_its_forms(value, seconds):
    headers = {} if value is None else {"Retry-After": value}
    error = read_endpoint("http://h/v1", {}).error(Reply(503, headers, ""), 503)
    assert error.kind == ("no answer" if seconds is None else "overloaded")
    assert error.wait_s == (None if seconds is None else pytest.approx(seconds, abs=120))


def test_retry_after_may_be_a_date_with_a_zone_or_without():
    soon = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for value in (soon, soon.removesuffix(" GMT")):
        error = read_endpoint("http://h/v1", {}).error(Reply(503, {"Retry-After": value}, ""), 503)
        assert error.wait_s == pytest.approx(3600, abs=120)


def ask(*urls: str, timeout_s: float = 5.0) -> list[Reply]:
    async def talk() -> list[Reply]:
        async with open_session() as session:
            return [await read_endpoint(url, {}).ask(session, "/chat/completions", BODY, timeout_s) for url in urls]

    return asyncio.run(talk())


BODY = b'{"messages": [{"content": "?"}]}'


def test_connections_are_used_again():
    with chat_server(lambda call: chat("x")) as served:
        assert [reply.status for reply in ask(*[served.url] * 5)] == [200] * 5
    assert len({call.client for call in served.calls}) == 1
    assert served.calls[0].headers["content-type"] == "application/json"


def test_errors_carry_nothing_of_what_was_sent():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with pytest.raises(ServerError, match="refused") as caught:
            ask(f"http://ann:hunter22@127.0.0.1:{listener.getsockname()[1]}/v1?key=querysecret")
    assert caught.value.kind == "unreachable"
    assert caught.value.__cause__ is caught.value.__context__ is None
