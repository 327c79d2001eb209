"""The server describer against the real thing: `transformers serve` on loopback, with a tiny LLaVA-shaped model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describe import describe as run
from sightwords.descriptions.schema import Description
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError
from support.ports import free_port

pytestmark = pytest.mark.slow
START_TIMEOUT_S = 300


class Server:
    """A `transformers serve` that can be killed and started again on the same port."""

    def __init__(self, model: Path, log: Path) -> None:
        port = free_port()
        self.url, self.log = f"http://127.0.0.1:{port}/v1", log
        self.command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--device", "cpu"]
        self.command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]

    def start(self) -> None:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with self.log.open("a") as stream:
            self.process = subprocess.Popen(
                self.command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_until_healthy(self) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.url.replace("/v1", "/health"), timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        pytest.fail(f"transformers serve did not start:\n{self.log.read_text()[-3000:]}")

    def end(self, *signals: signal.Signals) -> None:
        """End the server and its children, by one signal after the other until it is gone."""
        for sign in signals:
            try:
                os.killpg(self.process.pid, sign)
                self.process.wait(10)
                return
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


@pytest.fixture(scope="module")
def server(llava, tmp_path_factory):
    """A running `transformers serve`; it and its children are ended afterwards."""
    pytest.importorskip("fastapi", reason="transformers[serving] is not installed")
    server = Server(llava, tmp_path_factory.mktemp("serve") / "log.txt")
    server.start()
    try:
        server.wait_until_healthy()
        yield server
    finally:
        server.end(signal.SIGTERM, signal.SIGKILL)


@pytest.fixture
def served(server):
    """Its URL."""
    return server.url


# a model with random weights talks nonsense: one answer is asked for, and what came is compared, fit or not
ANY = {"tries": 1, "language": "any", "max_same": 1000}


def _rows(out: Path) -> dict[tuple[str, int], Description]:
    with DescriptionSet(out) as descriptions:
        return {(row.key, row.sample): row for row in descriptions.descriptions(status=None)}


def _raw(row: Description) -> str:
    return row.text if row.raw_text is None else row.raw_text


def test_it_describes_image_files_as_the_same_model_does_in_this_process(served, llava, photos, tmp_path):
    """Files that the server is sent as they are: there both see the same pixels and must say the same."""
    (photos / "train" / "bar" / "d.png").unlink()  # transparent: sent as a JPEG, which changes pixels
    (photos / "train" / "bar" / "e.jpg").unlink()  # turned by its EXIF orientation: likewise
    options = {"max_new_tokens": 12, "device": "cpu", **ANY}
    run(DescribeConfig(str(photos), out=tmp_path / "h.db", describer=f"hf:{llava}", batch_size=3, **options))
    run(DescribeConfig(str(photos), out=tmp_path / "s.db", describer=f"server:{llava}@{served}", **options))
    ours, theirs = _rows(tmp_path / "h.db"), _rows(tmp_path / "s.db")
    assert len(ours) == len(theirs) == 3
    for key, row in theirs.items():
        assert _raw(row).strip() == _raw(ours[key]).strip() != ""
        assert row.num_prompt_tokens == ours[key].num_prompt_tokens
        assert 1 <= row.num_text_tokens <= 12


def test_a_server_that_is_killed_midway_and_started_again_loses_nothing(server, llava, photos, tmp_path):
    config = DescribeConfig(
        str(photos), out=tmp_path / "s.db", describer=f"server:{llava}@{server.url}", max_new_tokens=8, samples=12,
        concurrency=4, **ANY,
    )  # fmt: skip
    killed_after = []

    def kill_and_restart():
        num_stored = 0
        while num_stored < 8:
            time.sleep(0.02)
            with suppress(ArtifactError):  # the set is in the making
                num_stored = len(_rows(config.out))
        server.end(signal.SIGKILL)
        killed_after.append(len(_rows(config.out)))
        server.start()

    killer = threading.Thread(target=kill_and_restart)
    killer.start()
    result = run(config)
    killer.join()
    assert 8 <= killed_after[0] < 60
    assert (result.num_ok + result.num_rejected, result.num_failed) == (60, 0)
    assert len(_rows(config.out)) == 60
