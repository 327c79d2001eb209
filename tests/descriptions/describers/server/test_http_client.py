from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from sightwords.descriptions.describers.server.chat_protocol import NoAnswerError, OverloadedError, UnreachableError
from sightwords.descriptions.describers.server.endpoint import read_endpoint
from sightwords.descriptions.describers.server.http_client import HttpClient
from support.chat_server import Reply, chat, chat_server


def post(url: str, timeout_s: float = 5.0, body: bytes = b'{"messages": [{"content": "?"}]}'):
    async def talk():
        async with HttpClient(timeout_s) as client:
            return await client.post(read_endpoint(url, {}), "/chat/completions", body)

    return asyncio.run(talk())


def test_status_headers_and_body_come_back():
    with chat_server(lambda call: Reply({"a": 1}, 418, {"Retry-After": "7"})) as served:
        reply = post(served.url)
    assert (reply.status, reply.headers["retry-after"], reply.body) == (418, "7", b'{"a": 1}')
    headers = served.calls[0].headers
    assert (headers["content-type"], headers["accept-encoding"]) == ("application/json", "identity")


def test_connections_are_used_again():
    ports = set()

    async def talk(url):
        async with HttpClient(5) as client:
            for _ in range(5):
                await client.post(read_endpoint(url, {}), "/x", b'{"messages": [{"content": "?"}]}')
                ports.update(c.getpeername() for c in served._server.connections)

    with chat_server(lambda call: chat("x")) as served:
        asyncio.run(talk(served.url))
    assert len(ports) == 1


def test_errors_carry_nothing_of_what_was_sent():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError, match="Connection refused") as caught:
            post(f"http://ann:hunter22@127.0.0.1:{listener.getsockname()[1]}/v1?key=querysecret")
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_server_that_listens_and_says_nothing_runs_into_the_time_limit():
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(NoAnswerError, match=r"within 0\.2 s"):
        post(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout_s=0.2)


def test_too_many_open_files_are_no_fault_of_the_server(monkeypatch):
    def no_socket(*args, **kwargs):
        raise OSError(errno.EMFILE, "too many")

    async def talk(url):
        async with HttpClient(5) as client:
            await client.post(read_endpoint(url, {}), "/x", b"{}")

    with chat_server(lambda call: chat("x")) as served, asyncio.Runner() as runner:
        runner.get_loop()  # which needs sockets of its own
        monkeypatch.setattr(socket, "socket", no_socket)
        with pytest.raises(OverloadedError, match="Too many open files"):
            runner.run(talk(served.url))
        monkeypatch.undo()
