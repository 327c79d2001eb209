"""The server describer against the real thing: `transformers serve` on loopback, with a tiny LLaVA-shaped model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describe import describe as run
from sightwords.descriptions.store import DescriptionSet
from support.ports import free_port

pytestmark = pytest.mark.slow
START_TIMEOUT_S = 300


@pytest.fixture(scope="module")
def served(llava, tmp_path_factory):
    """The URL of a running `transformers serve`; it and its children are ended afterwards."""
    pytest.importorskip("fastapi", reason="transformers[serving] is not installed")
    port, log = free_port(), tmp_path_factory.mktemp("serve") / "log.txt"
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(llava), "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        options = {"stdout": stream, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = subprocess.Popen(command, env=environment, **options)
    try:
        wait_until_healthy(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"transformers serve did not start:\n{log.read_text()[-3000:]}")


def test_it_describes_image_files_as_the_same_model_does_in_this_process(served, llava, photos, tmp_path):
    """Files that the server is sent as they are: there both see the same pixels and must say the same."""
    (photos / "train" / "bar" / "d.png").unlink()  # transparent: sent as a JPEG, which changes pixels
    (photos / "train" / "bar" / "e.jpg").unlink()  # turned by its EXIF orientation: likewise
    # a model with random weights talks nonsense: one answer is asked for, and what came is compared, fit or not
    options = {"tries": 1, "language": "any", "max_same": 1000, "max_new_tokens": 12, "device": "cpu"}
    found = []
    for describer in (f"hf:{llava}", f"server:{llava}@{served}"):
        out = tmp_path / f"{len(found)}.db"
        run(DescribeConfig(str(photos), out=out, describer=describer, **options))
        with DescriptionSet(out) as store:
            found.append({row.key: row for row in store.descriptions(status=None)})
    ours, theirs = found
    assert len(ours) == len(theirs) == 3
    for key, row in theirs.items():
        texts = [(one.text if one.raw_text is None else one.raw_text).strip() for one in (row, ours[key])]
        assert texts[0] == texts[1] != ""
        assert row.num_prompt_tokens == ours[key].num_prompt_tokens
        assert 1 <= row.num_text_tokens <= 12
