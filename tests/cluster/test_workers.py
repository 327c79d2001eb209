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


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """The file that gets a line for each number that was begun."""
    return tmp_path_factory.mktemp("log") / "begun"


@pytest.fixture(scope="module")
def squares(nodes, log):
    """Workers that square numbers, one on each node; they stay from test to test until one ends them."""
    squares = Workers(partial(make_squares, secret=SECRET, log=log), device="cpu")
    yield squares
    squares.close()


def numbers(results):
    return Counter(item.number for item, _ in results)


def test_every_item_once_over_all_nodes_and_never_far_ahead(squares):
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


def test_a_killed_worker_loses_nothing_and_repeats_only_what_it_held(squares, log):
    log.unlink(missing_ok=True)
    results = []
    for item, result in squares.run((Item(n, 0.1) for n in range(60)), 4):
        results.append((item, result))
        if len(results) == 12:
            os.kill(result.pid, signal.SIGKILL)
    assert numbers(results) == Counter(range(60))
    assert all(result.number == item.number**2 for item, result in results)
    begun = Counter(int(line) for line in log.read_text().split())
    assert sum(begun.values()) - 60 <= 4  # a chunk
    assert len(begun) == 60


def test_a_chunk_that_workers_die_of_is_given_up_and_no_other(squares):
    results = list(squares.run((Item(n, 0.02, kills=n == 9) for n in range(40)), 4))
    lost = {item.number: str(result) for item, result in results if isinstance(result, ModelError)}
    assert numbers(results) == Counter(range(40))
    assert sorted(lost) == [8, 9, 10, 11]
    assert "3 workers died of it" in lost[9]


def test_a_run_that_is_to_stop_ends_with_what_was_begun(squares, log, nodes):
    log.unlink(missing_ok=True)
    arrived: list[int] = []
    for item, _ in squares.run((Item(n, 0.2) for n in range(200)), 8, lambda: bool(arrived)):
        arrived.append(item.number)
    begun = [int(line) for line in log.read_text().split()]
    assert sorted(arrived) == sorted(begun)
    assert len(begun) <= 32
    files = [path for path in nodes.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.stat().st_size for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_our_errors_end_the_run_and_the_workers_and_name_the_node(squares):
    results = []
    with pytest.raises(UnavailableError, match=r"On .*: No server answers at http://nowhere\."):
        for result in squares.run((Item(n, 0.02, raises="ours" * (n == 30)) for n in range(60)), 4):
            results.append(result)
    assert numbers(results) <= Counter(range(60))
    assert {0, 1, 2, 3, 28, 29} <= set(numbers(results))  # those before it in its chunk, too
    pids = {result.pid for _, result in results}
    deadline_s = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("job", "patience_s", "error", "message"),
    [
        ({"fails": True}, 300, ModelError, r"On .*: There is no folder /m\."),
        ({}, 0, UnavailableError, "had room for a worker for 0 s"),
        ({"kills": True}, 300, UnavailableError, "4 workers started and died without a result"),
    ],
)
def test_why_no_worker_can_start_is_said(nodes, monkeypatch, job, patience_s, error, message):
    monkeypatch.setattr(workers, "_MAX_STARTS", 1)
    squares = Workers(partial(make_squares, **job), wanted=1, device="cpu", patience_s=patience_s)
    with pytest.raises(error, match=message):
        list(squares.run([Item(1), Item(2)], 1))
    squares.close()
