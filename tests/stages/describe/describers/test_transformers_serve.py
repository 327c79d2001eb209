"""The server describer against the real thing: `transformers serve` on loopback, with a tiny LLaVA-shaped model."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from sightwords.artefacts.description_set import DescriptionSet
from sightwords.stages.describe.config import DescribeConfig
from sightwords.stages.describe.run import run

pytestmark = pytest.mark.slow
START_TIMEOUT_S = 90


@pytest.fixture(scope="module")
def served(llava, tmp_path_factory):
    """URL of a running `transformers serve`; it and its children are ended afterwards."""
    pytest.importorskip("fastapi", reason="transformers[serving] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(llava), "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_until_healthy(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            _end_group(process)


def _wait_until_healthy(process: subprocess.Popen, url: str, log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"transformers serve did not start:\n{log.read_text()[-3000:]}")


def _end_group(process: subprocess.Popen) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(10)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _rows(out: Path) -> dict:
    with DescriptionSet(out) as descriptions:
        return {(row.key, row.sample): row for row in descriptions.descriptions()}


def test_it_describes_image_files_as_the_same_model_does_in_this_process(served, llava, photos, tmp_path):
    """Files that the server is sent as they are: there both see the same pixels and must say the same."""
    (photos / "train" / "bar" / "d.png").unlink()  # transparent: sent as a JPEG, which changes pixels
    (photos / "train" / "bar" / "e.jpg").unlink()  # turned by its EXIF orientation: likewise
    options = {"max_new_tokens": 12, "device": "cpu"}
    here = run(DescribeConfig(str(photos), out=tmp_path / "h.db", describer=f"hf:{llava}", batch_size=3, **options))
    there = run(DescribeConfig(str(photos), out=tmp_path / "s.db", describer=f"server:{llava}@{served}", **options))
    assert here.num_ok == there.num_ok == 3
    ours, theirs = _rows(tmp_path / "h.db"), _rows(tmp_path / "s.db")
    assert {key: row.text for key, row in theirs.items()} == {key: row.text for key, row in ours.items()}
    for key, row in theirs.items():
        assert row.text
        assert row.num_prompt_tokens == ours[key].num_prompt_tokens
        assert 1 <= row.num_text_tokens <= 12


def test_other_files_are_described_too_and_samples_vary(served, llava, photos, tmp_path):
    config = DescribeConfig(
        str(photos), out=tmp_path / "s.db", describer=f"server:{llava}@{served}", max_new_tokens=8, samples=2,
        concurrency=3,
    )  # fmt: skip
    result = run(config)
    assert (result.num_ok, result.num_failed, result.num_problems) == (10, 0, 0)
    rows = _rows(tmp_path / "s.db")
    assert all(row.text for row in rows.values())
    assert sum(rows[key, 0].text != rows[key, 1].text for key, sample in rows if sample == 0) >= 4
    again = run(config)
    assert (again.num_ok, again.num_skipped) == (0, 10)


def test_a_model_that_the_server_does_not_hold_is_told_by_its_own_words(served, photos, tmp_path):
    config = DescribeConfig(str(photos), out=tmp_path / "s.db", describer=f"server:other@{served}")
    result = run(config)
    assert result.num_failed == 5
    ((status, reason),) = result.reasons
    assert status == "failed"
    assert "pinned to" in reason
