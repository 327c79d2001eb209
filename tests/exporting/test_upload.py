"""The upload, against a real HTTP server on loopback that speaks as much of the hub's protocol as it takes."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import ModelCard

from sightwords.errors import ModelError
from sightwords.exporting.check import open_checkpoint
from sightwords.exporting.config import ExportConfig
from sightwords.exporting.export import export as run
from sightwords.models.run_folder import RunFolder

TOKEN = "hf_of_the_test"


class Hub(ThreadingHTTPServer):
    """Takes repositories and commits, and keeps the files."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self.refuses = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({"sha": "0" * 40, "id": "me/birds", "siblings": [], "private": False})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.server.refuses:
            self._answer({"error": "You have no right to write here"}, 403)
        elif self.path == "/api/repos/create":
            self._answer({"url": f"{self.server.url}/me/birds", "id": "1", "name": "me/birds"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        elif "/commit/" in self.path:
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            commit = {
                "commitUrl": f"{self.server.url}/me/birds/commit/1",
                "commitOid": "1" * 40,
                "pullRequestUrl": None,
            }
            self._answer({"success": True, **commit})
        else:
            self._answer({"valid": True})  # the card's front matter is checked there

    def _answer(self, payload: Any, status: int = 200) -> None:
        raw = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
    real = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **options: real(endpoint=server.url, **options))
    yield server
    server.shutdown()
    server.server_close()


def test_what_is_uploaded_is_the_folder_that_timm_reads(exported, hub, tmp_path):
    folder = exported[0]
    result = run(ExportConfig(folder / "run", push_to_hub="me/birds", license="apache-2.0", pairs=1))
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md", "certificate.json"}
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert result.uploaded.endswith("/commit/1")
    assert "hf-hub:me/birds" in result.summary()
    for name, data in hub.files.items():
        (tmp_path / name).write_bytes(data)
    network = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), open_checkpoint(RunFolder(folder / "run")).network(images))
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("apache-2.0", "timm", "birds")
    assert TOKEN not in "".join(data.decode("latin1") for data in hub.files.values())


def test_a_hub_that_refuses_is_told_and_the_folder_is_kept(exported, hub, tmp_path):
    hub.refuses = True
    with pytest.raises(ModelError, match="refused.*me/birds"):
        run(ExportConfig(exported[0] / "run", push_to_hub="me/birds", out=tmp_path / "hub", pairs=1))
    assert (tmp_path / "hub" / "model.safetensors").is_file()


def test_without_a_token_nothing_is_begun(exported, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ModelError, match="Set HF_TOKEN"):
        run(ExportConfig(exported[0] / "run", push_to_hub="me/birds", out=tmp_path / "hub"))
    assert list(tmp_path.iterdir()) == []
