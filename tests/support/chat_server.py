"""A real HTTP server on loopback that speaks the OpenAI protocol as far as a describer needs, with faults on call."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Call:
    """One chat request as it arrived, from a client's host and port; without an image, `image` is empty."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    image: bytes
    media_type: str
    client: tuple[str, int]


@dataclass
class Reply:
    """What to send back; `payload` is a JSON value, or raw bytes; None closes the connection without an answer.

    `num_sent` closes the connection after so many bytes of the payload.
    """

    payload: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    num_sent: int | None = None


def chat(text: Any, finish: str = "stop", **message: Any) -> Reply:
    """Return a well-formed chat completion; `message` are further fields of its message."""
    message = {"role": "assistant", "content": text, **message}
    return Reply({
        "id": "1", "object": "chat.completion", "created": 1, "model": "tiny",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    })  # fmt: skip


def refusal(status: int, message: str, **headers: str) -> Reply:
    """Return an error in OpenAI's form."""
    return Reply(
        {"error": {"message": message, "type": "error"}}, status, {k.replace("_", "-"): headers[k] for k in headers}
    )


class ChatServer:
    """A server that can be killed and started again on the same port.

    Args:
        answer: called with every chat request, in the thread of its connection.
        models: names that it lists.

    Attributes:
        url: its address, known once it was started.
        calls: the chat requests that it got.
        most_open: how many were answered at once at most.
    """

    def __init__(self, answer: Callable[[Call], Reply], models: tuple[str, ...] = ("tiny",)) -> None:
        self.answer, self.models = answer, models
        self.calls: list[Call] = []
        self.num_open = self.most_open = 0
        self.lock = threading.Lock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """Close the listening socket and every connection, whatever is going on in it."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in list(self._server.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], owner: ChatServer) -> None:
        self.owner = owner
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """Say nothing about clients that hang up: several tests make them do so."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send(Reply({"object": "list", "data": [{"id": n, "object": "model"} for n in self.server.owner.models]}))

    def do_POST(self) -> None:
        owner, call = self.server.owner, self.read_call()
        with owner.lock:
            owner.calls.append(call)
            owner.num_open += 1
            owner.most_open = max(owner.most_open, owner.num_open)
        reply = owner.answer(call)
        with owner.lock:
            owner.num_open -= 1
        self.send(reply)

    def read_call(self) -> Call:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][0]["content"]
        url = content[0]["image_url"]["url"] if isinstance(content, list) else ""
        head, _, data = url.partition(",")
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Call(body, headers, self.path, base64.b64decode(data), head, self.client_address)

    def send(self, reply: Reply) -> None:
        if reply.payload is None:
            self.close_connection = True
            return
        raw = reply.payload if isinstance(reply.payload, bytes) else json.dumps(reply.payload).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw[: reply.num_sent])
        self.close_connection = self.close_connection or reply.num_sent is not None


@contextmanager
def chat_server(answer: Callable[[Call], Reply], models: tuple[str, ...] = ("tiny",)) -> Iterator[ChatServer]:
    """Serve until the block ends."""
    server = ChatServer(answer, models)
    server.start()
    try:
        yield server
    finally:
        server.kill()
