"""Items over a real Ray cluster of several nodes, with workers and nodes that die."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import pytest

from sightwords.cluster import Lost, Workers, workers
from sightwords.errors import ModelError, UnavailableError

pytest.importorskip("ray")

from support.ray_jobs import Item, MakeSquares
from support.ray_nodes import shared_nodes

pytestmark = pytest.mark.slow

SECRET = "sk-7f3a-never-to-be-seen"


@pytest.fixture(scope="module")
def nodes():
    return shared_nodes()


@pytest.fixture
def start(nodes):
    """Start workers that square numbers."""
    started = []

    def start(job=None, **options):
        started.append(Workers(job or MakeSquares(SECRET), nodes.address, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def numbers(results):
    return Counter(item.number for item, _ in results)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(holds, within_s=20.0):
    deadline_s = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return holds()


def test_every_item_once_over_all_nodes_and_again_by_the_same_workers(start, nodes):
    squares = start()
    results = list(squares.run((Item(n, 0.1) for n in range(60)), 4))
    assert numbers(results) == Counter(range(60))
    assert all(result.number == item.number**2 for item, result in results)
    assert len({result.node_id for _, result in results}) == 2
    num_taken = num_done = most_ahead = 0

    def source():
        nonlocal num_taken
        for n in range(100):
            num_taken += 1
            yield Item(n, 0.01)

    for _, result in squares.run(source(), 4):
        assert result.pid in {result.pid for _, result in results}
        num_done += 1
        most_ahead = max(most_ahead, num_taken - num_done)
    assert num_done == 100
    assert most_ahead <= 24  # two workers with two chunks of four, one chunk ready, and what is just arriving
    files = [path for path in nodes.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.stat().st_size for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_killed_worker_loses_nothing_and_repeats_only_what_it_held(start, tmp_path):
    log, results = tmp_path / "begun", []
    for item, result in start(MakeSquares(log=log)).run((Item(n, 0.1) for n in range(60)), 4):
        results.append((item, result))
        if len(results) == 12:
            os.kill(result.pid, signal.SIGKILL)
    assert numbers(results) == Counter(range(60))
    assert not any(isinstance(result, Lost) for _, result in results)
    assert len({result.pid for _, result in results}) == 3  # one was replaced
    begun = Counter(int(line) for line in log.read_text().split())
    assert sum(begun.values()) - 60 <= 4  # a chunk
    assert len(begun) == 60


def test_what_a_lost_node_held_goes_to_the_others(start, nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_STUCK_S", 2.0)
    log, results = tmp_path / "begun", []
    for item, result in start(MakeSquares(log=log)).run((Item(n, 0.1) for n in range(60)), 4):
        results.append((item, result))
        if len(results) == 12:
            nodes.remove(result.node_id)
    nodes.add()
    assert numbers(results) == Counter(range(60))
    assert sum(1 for _ in log.read_text().split()) <= 60 + 3 * 4


def test_an_item_that_kills_workers_is_given_up_and_no_other(start):
    results = dict(start().run((Item(n, 0.02, kills=n in (21, 22)) for n in range(40)), 16))
    lost = {item.number: result.reason for item, result in results.items() if isinstance(result, Lost)}
    assert len(results) == 40
    assert list(lost) == [21, 22]
    assert "3 workers died of it" in lost[21]


def test_our_errors_end_the_run_and_name_the_node_and_others_are_results(start):
    squares, results = start(), []
    with pytest.raises(UnavailableError, match=r"On .*: No server answers at http://nowhere\."):
        for result in squares.run((Item(n, 0.02, raises="ours" * (n == 30)) for n in range(60)), 4):
            results.append(result)
    assert numbers(results) <= Counter(range(60))
    assert {0, 1, 2, 3} <= set(numbers(results))
    results = dict(squares.run((Item(n, raises="other" * (n == 3)) for n in range(4)), 1))
    (lost,) = [result for result in results.values() if isinstance(result, Lost)]
    assert "KeyError: 'no such thing as 3'" in lost.reason


def test_stopping_finishes_what_was_begun_and_nothing_else(start, tmp_path):
    log = tmp_path / "begun"
    squares = start(MakeSquares(log=log))
    results: list[int] = []
    for item, _ in squares.run((Item(n, 0.2) for n in range(200)), 8, lambda: bool(results)):
        results.append(item.number)
    begun = [int(line) for line in log.read_text().split()]
    assert sorted(results) == sorted(begun)
    assert len(begun) < 32
    assert numbers(squares.run((Item(n) for n in range(5)), 4)) == Counter(range(5))


def test_a_model_that_a_node_lacks_is_said_with_the_nodes_name(start):
    with pytest.raises(ModelError, match=r"On .*: There is no folder /m\."):
        list(start(MakeSquares(fails=True)).run([Item(1)], 1))


def test_closing_early_ends_the_workers(start):
    run = start().run((Item(n, 0.05) for n in range(100)), 4)
    pids = {next(run)[1].pid for _ in range(20)}
    run.close()
    assert eventually(lambda: not any(map(is_running, pids)))


def test_no_room_is_said(start):
    with pytest.raises(UnavailableError, match="had room for a worker for 1 s"):
        list(start(wanted=1, device="cpu", patience_s=1).run([Item(1)], 1))


def test_workers_that_die_at_their_start_end_the_run(start, monkeypatch):
    monkeypatch.setattr(workers, "_MAX_STARTS", 4)
    with pytest.raises(UnavailableError, match="died without a result"):
        list(start(MakeSquares(kills=True)).run([Item(1), Item(2)], 1))
