"""Describing is killed, stopped, run twice: nothing is lost, nothing is asked twice, and a second run completes."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightwords.descriptions.store import DescriptionSet
from sightwords.images.keys import image_key
from support.chat_server import Call, chat, chat_server

NUM_KILLS = int(os.environ.get("SIGHTWORDS_KILLS", "6"))  # 50 take four minutes
CONCURRENCY = 4
PHOTOS_PER_KILL = 50  # more than a run can answer, on average, before it is killed: 4 in flight, 0.1 s each, up to 3 s


def make_photos(folder: Path, number: int) -> Path:
    """Save small PNG files, two classes, each of its own color; return the folder."""
    for i in range(number):
        path = folder / "train" / ("cat" if i % 2 else "dog") / f"{i:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), (i % 251, i // 251, 77), np.uint8)).save(path)
    return folder


class Model:
    """What the server says: an own sentence for each picture, after a while."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.asked: list[str] = []

    def __call__(self, call: Call):
        key = image_key(call.image)
        self.asked.append(key)
        time.sleep(self.delay_s)
        return chat(f"A plain square picture of one even color, which is the one called {key[:8]}.")


def start(photos: Path, out: Path, url: str, *options: str, limit_bytes: int | None = None) -> subprocess.Popen[str]:
    def no_larger_files() -> None:
        if limit_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "-m", "sightwords", "describe", str(photos), "--out", str(out)]
    command += ["--describer", f"server:tiny@{url}", "--concurrency", str(CONCURRENCY), *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=no_larger_files
    )


def stored(out: Path) -> Counter[str]:
    """Return how many good rows each image has; the set must be whole."""
    if not out.exists():
        return Counter()
    connection = sqlite3.connect(out)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    keys = connection.execute("SELECT key FROM descriptions WHERE status = 'ok'").fetchall() if tables else []
    connection.close()
    return Counter(key for (key,) in keys)


def wait_for(condition, timeout_s: float = 60.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.slow
def test_kills_at_random_instants_lose_only_answers_in_flight(tmp_path):
    photos, out = make_photos(tmp_path / "photos", PHOTOS_PER_KILL * NUM_KILLS), tmp_path / "d.db"
    rng, model = random.Random(0), Model(0.1)
    num_wasted, num_kills = 0, 0
    with chat_server(model) as served:
        while num_kills < NUM_KILLS:
            before, num_asked = stored(out), len(model.asked)
            process = start(photos, out, served.url)
            # half of the kills come once answers are on their way, the others at any instant, start-up included
            if rng.random() < 0.5:
                wait_for(lambda n=num_asked, p=process: len(model.asked) > n or p.poll() is not None)
                time.sleep(rng.uniform(0, 0.4))
            else:
                time.sleep(rng.uniform(0, 3))
            if process.poll() is not None:
                pytest.fail(f"it ended by itself after {num_kills} kills: {process.communicate()}")
            process.send_signal(signal.SIGKILL)
            process.communicate()
            num_kills += 1
            time.sleep(2 * model.delay_s)  # the server ends what it was asked
            after, asked = stored(out), model.asked[num_asked:]
            assert set(asked).isdisjoint(before), "an image that had an answer was asked again"
            assert before <= after, "an answer was lost"
            num_wasted += len(set(asked) - set(after))
            assert len(set(asked) - set(after)) <= CONCURRENCY + 1, "more than what was in flight was lost"
        process = start(photos, out, served.url)
        told, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    num_before = sum(stored(out).values())
    assert stored(out) == Counter({image_key(path.read_bytes()): 1 for path in photos.rglob("*.png")})
    assert num_before == PHOTOS_PER_KILL * NUM_KILLS
    print(f"{num_kills} kills, {num_wasted} answers in flight asked again of {len(model.asked)}: {told}")


def test_ctrl_c_finishes_what_is_in_flight_and_says_how_to_go_on(tmp_path):
    photos, out, model = make_photos(tmp_path / "photos", 40), tmp_path / "d.db", Model(0.5)
    with chat_server(model) as served:
        process = start(photos, out, served.url)
        wait_for(lambda: len(model.asked) >= 3)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
        num_asked = len(model.asked)
    assert process.returncode == 130
    assert told == ""
    assert "up to 30 s for the answers in flight" in errors
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert sum(stored(out).values()) == num_asked < 40  # everything that was asked arrived


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    photos, out, model = make_photos(tmp_path / "photos", 40), tmp_path / "d.db", Model(20)
    with chat_server(model) as served:
        process = start(photos, out, served.url)
        wait_for(lambda: model.asked)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        start_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert time.monotonic() - start_s < 5
    assert process.returncode == 130
    assert "0 descriptions are stored" in errors
    assert "Traceback" not in errors


def test_the_grace_period_ends(tmp_path):
    photos, out, model = make_photos(tmp_path / "photos", 10), tmp_path / "d.db", Model(20)
    with chat_server(model) as served:
        process = start(photos, out, served.url, "--grace-s", "0.5")
        wait_for(lambda: model.asked)
        process.send_signal(signal.SIGTERM)
        start_s = time.monotonic()
        process.communicate(timeout=15)
        assert time.monotonic() - start_s < 8
    assert process.returncode == 130


def test_a_second_process_with_the_same_questions_is_refused_and_one_with_others_is_not(tmp_path):
    photos, out, model = make_photos(tmp_path / "photos", 30), tmp_path / "d.db", Model(0)
    asked, answer = threading.Event(), threading.Event()

    def held(call):
        asked.set()
        assert answer.wait(120)
        return model(call)

    with chat_server(held) as served:
        first = start(photos, out, served.url)
        wait_for(asked.is_set)
        second = start(photos, out, served.url)
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 2
        assert f"Another process asks the same for {out}" in errors
        answer.set()
        other = start(photos, out, served.url, "--prompt", "short")
        assert other.communicate(timeout=60)[0].startswith("Wrote 30 descriptions")
        assert first.communicate(timeout=60)[0].startswith("Wrote 30 descriptions")
    with DescriptionSet(out) as store:
        assert store.counts() == {"ok": 60}
    assert Counter(model.asked) == Counter(dict.fromkeys(model.asked, 2))


def test_a_full_disk_is_told_and_the_next_run_completes(tmp_path):
    photos, out, model = make_photos(tmp_path / "photos", 300), tmp_path / "d.db", Model(0)

    def answer(call: Call):
        model(call)
        return chat(" ".join(image_key(call.image + bytes([i]))[:9] for i in range(160)))

    with chat_server(answer) as served:
        process = start(photos, out, served.url, "--language", "any", limit_bytes=400_000)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 2
        assert f"{out} cannot be written: the disk" in errors
        assert "Traceback" not in errors
        num_stored = sum(stored(out).values())
        assert 0 < num_stored < 300
        num_asked = len(model.asked)
        again = start(photos, out, served.url, "--language", "any")
        assert again.communicate(timeout=60)[0].startswith(f"Wrote {300 - num_stored} desc")
    assert len(model.asked) == num_asked + 300 - num_stored
    assert sorted(stored(out).values()) == [1] * 300


def test_a_truncated_set_is_told_and_what_is_left_of_it_can_be_gone_on_with(tmp_path):
    photos, out, model = make_photos(tmp_path / "photos", 400), tmp_path / "d.db", Model(0)
    rescued = tmp_path / "rescued.db"
    with chat_server(model) as served:
        assert start(photos, out, served.url).wait(timeout=120) == 0
        with out.open("r+b") as file:
            file.truncate(out.stat().st_size * 9 // 10)
        size = out.stat().st_size
        process = start(photos, out, served.url)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 2
        assert f"sightwords merge {out} --out RESCUED.db" in errors
        assert out.stat().st_size == size
        merge = [sys.executable, "-m", "sightwords", "merge", str(out), "--out", str(rescued)]
        assert "answers could still be read" in subprocess.run(merge, capture_output=True, text=True, check=True).stdout
        num_rescued, num_asked = sum(stored(rescued).values()), len(model.asked)
        assert 200 < num_rescued < 400
        assert start(photos, rescued, served.url).wait(timeout=120) == 0
    assert len(model.asked) == num_asked + 400 - num_rescued
    assert sorted(stored(rescued).values()) == [1] * 400


def test_under_torchrun_every_process_takes_its_share(tmp_path):
    photos, out, model = make_photos(tmp_path / "photos", 30), tmp_path / "d.db", Model(0.01)
    with chat_server(model) as served:
        command = ["torchrun", "--standalone", "--nproc-per-node", "2", "-m", "sightwords", "describe", str(photos)]
        command += ["--out", str(out), "--describer", f"server:tiny@{served.url}"]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert stored(out) == Counter({image_key(path.read_bytes()): 1 for path in photos.rglob("*.png")})
    assert sorted(Counter(model.asked).values()) == [1] * 30
    assert done.stdout.count("Wrote") == 1


def test_a_key_is_nowhere(tmp_path, monkeypatch):
    secret = "sk-very-secret-0123456789"
    monkeypatch.setenv("SIGHTWORDS_API_KEY", secret)
    monkeypatch.setenv("SIGHTWORDS_CACHE", str(tmp_path / "cache"))
    photos, out, model = make_photos(tmp_path / "photos", 5), tmp_path / "d.db", Model(0)
    with chat_server(
        lambda call: chat(f"A picture whose key is {secret}, it seems.") if model(call) else None
    ) as served:
        process = start(photos, out, served.url)
        told, errors = process.communicate(timeout=60)
        assert served.calls[0].headers["authorization"] == f"Bearer {secret}"
    process = start(photos, out, served.url, "--retry-failed")
    told2, errors2 = process.communicate(timeout=60)
    everything = (told + errors + told2 + errors2).encode() + b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )
    assert secret.encode() not in everything
    assert sum(stored(out).values()) == 5
