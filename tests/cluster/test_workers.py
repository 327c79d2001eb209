"""Items over a real Ray cluster of several nodes, with workers and nodes that die."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from sightwords.cluster import Workers, workers
from sightwords.errors import ModelError, UnavailableError

pytest.importorskip("ray")

import ray

from support.ray_jobs import Item, make_squares
from support.ray_nodes import shared_nodes

pytestmark = pytest.mark.slow

SECRET = "sk-7f3a-never-to-be-seen"


@pytest.fixture(scope="module")
def nodes():
    """Connect to two nodes that work, beside the head."""
    nodes = shared_nodes()
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    yield nodes
    ray.shutdown()


@pytest.fixture
def start(nodes):
    """Start workers that square numbers."""
    started = []

    def start(wanted=None, patience_s=300.0, **job):
        make = partial(make_squares, secret=SECRET, **job)
        started.append(Workers(make, wanted=wanted, device="cpu", patience_s=patience_s))
        return started[-1]

    yield start
    for each in started:
        each.close()


def numbers(results):
    return Counter(item.number for item, _ in results)


def eventually(holds, within_s=20.0):
    deadline_s = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return holds()


def test_every_item_once_over_all_nodes_until_the_run_is_to_stop(start, nodes, tmp_path):
    log = tmp_path / "begun"
    squares = start(log=log)
    results = list(squares.run((Item(n, 0.1, raises="other" * (n == 3)) for n in range(40)), 4))
    assert numbers(results) == Counter(range(40))
    failed = {item.number: str(result) for item, result in results if isinstance(result, ModelError)}
    assert list(failed) == [3]
    assert "KeyError: 'no such thing as 3'" in failed[3]
    squared = [(item, result) for item, result in results if item.number != 3]
    assert all(result.number == item.number**2 for item, result in squared)
    assert len({result.node_id for _, result in squared}) == 2
    num_taken = num_done = most_ahead = 0

    def source():
        nonlocal num_taken
        for n in range(100):
            num_taken += 1
            yield Item(n, 0.01)

    for _, result in squares.run(source(), 4):
        assert result.pid in {result.pid for _, result in squared}  # the same workers
        num_done += 1
        most_ahead = max(most_ahead, num_taken - num_done)
    assert num_done == 100
    assert most_ahead <= 24  # two workers with two chunks of four, one chunk ready, and what is just arriving

    log.unlink()
    arrived: list[int] = []
    for item, _ in squares.run((Item(n, 0.2) for n in range(200)), 8, lambda: bool(arrived)):
        arrived.append(item.number)
    begun = [int(line) for line in log.read_text().split()]
    assert sorted(arrived) == sorted(begun)
    assert len(begun) <= 32
    files = [path for path in nodes.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.stat().st_size for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_killed_worker_and_a_lost_node_lose_nothing_and_repeat_only_what_they_held(
    start, nodes, tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "_SILENT_S", 8.0)
    log, results = tmp_path / "begun", []
    for item, result in start(log=log).run((Item(n, 0.1) for n in range(100)), 4):
        results.append((item, result))
        if len(results) == 12:
            os.kill(result.pid, signal.SIGKILL)
        if len(results) == 60:
            nodes.remove(result.node_id)
    nodes.add()
    assert numbers(results) == Counter(range(100))
    assert all(result.number == item.number**2 for item, result in results)
    begun = Counter(int(line) for line in log.read_text().split())
    assert sum(begun.values()) - 100 <= 2 * 4  # a chunk each
    assert len(begun) == 100


def test_a_chunk_that_workers_die_of_is_given_up_and_no_other(start):
    results = list(start().run((Item(n, 0.02, kills=n == 9) for n in range(40)), 4))
    lost = {item.number: str(result) for item, result in results if isinstance(result, ModelError)}
    assert numbers(results) == Counter(range(40))
    assert sorted(lost) == [8, 9, 10, 11]
    assert "3 workers died of it" in lost[9]


def test_our_errors_end_the_run_and_the_workers_and_name_the_node(start):
    squares, results = start(), []
    with pytest.raises(UnavailableError, match=r"On .*: No server answers at http://nowhere\."):
        for result in squares.run((Item(n, 0.02, raises="ours" * (n == 30)) for n in range(60)), 4):
            results.append(result)
    assert numbers(results) <= Counter(range(60))
    assert {0, 1, 2, 3, 28, 29} <= set(numbers(results))  # those before it in its chunk, too
    pids = {result.pid for _, result in results}
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert numbers(squares.run((Item(n) for n in range(5)), 4)) == Counter(range(5))


def test_what_a_node_lacks_is_said_with_its_name_and_no_room_too(start):
    with pytest.raises(ModelError, match=r"On .*: There is no folder /m\."):
        list(start(fails=True).run([Item(1)], 1))
    with pytest.raises(UnavailableError, match="had room for a worker for 0 s"):
        list(start(patience_s=0).run([Item(1)], 1))


def test_workers_that_die_at_their_start_end_the_run(start, monkeypatch):
    monkeypatch.setattr(workers, "_MAX_STARTS", 1)
    with pytest.raises(UnavailableError, match="4 workers started and died without a result"):
        list(start(wanted=1, kills=True).run([Item(1), Item(2)], 1))
