"""A real HTTP server on loopback that speaks the OpenAI protocol as far as a describer needs, with faults on call."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Call:
    """One chat request as it arrived."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    image: bytes
    media_type: str


@dataclass
class Reply:
    """What to send back; `payload` is a JSON value, or raw bytes; None closes the connection without an answer."""

    payload: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def chat(text: str | None, finish: str = "stop") -> Reply:
    """Return a well-formed chat completion."""
    message = {"role": "assistant", "content": text}
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


@dataclass
class ChatServer:
    """A running server: its URL, and the calls that it got."""

    url: str
    calls: list[Call]
    most_open: int = 0


@contextmanager
def chat_server(answer: Callable[[Call], Reply], models: tuple[str, ...] = ("tiny",)) -> Iterator[ChatServer]:
    """Serve until the block ends; `answer` is called in the thread of each request."""
    state = ChatServer("", [])
    lock = threading.Lock()
    num_open = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send(Reply({"object": "list", "data": [{"id": name, "object": "model"} for name in models]}))

        def do_POST(self) -> None:
            nonlocal num_open
            call = self.read_call()
            with lock:
                state.calls.append(call)
                num_open += 1
                state.most_open = max(state.most_open, num_open)
            reply = answer(call)
            with lock:
                num_open -= 1
            self.send(reply)

        def read_call(self) -> Call:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            url = body["messages"][0]["content"][0]["image_url"]["url"]
            head, _, data = url.partition(",")
            headers = {name.lower(): value for name, value in self.headers.items()}
            return Call(body, headers, self.path, base64.b64decode(data), head)

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
            self.wfile.write(raw)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            """Say nothing about clients that hang up: several tests make them do so."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
