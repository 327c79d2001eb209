"""Items over a real Ray cluster of several nodes, with workers and nodes that die."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import pytest

from sightwords.cluster import Dispatch, Lost, Placement, WorkerPool
from sightwords.errors import UnavailableError

pytest.importorskip("ray")

from support.ray_jobs import Item, MakeSquares
from support.ray_nodes import connected, shared_nodes

pytestmark = pytest.mark.slow

SECRET = "sk-7f3a-never-to-be-seen"


@pytest.fixture(scope="module")
def nodes():
    return shared_nodes()


@pytest.fixture(scope="module")
def cluster(nodes):
    with connected(nodes) as cluster:
        yield cluster


@pytest.fixture
def pool(cluster):
    pool = WorkerPool(cluster, MakeSquares(SECRET), Placement(2, 1, 0), patience_s=30)
    yield pool
    pool.close()


def dispatch(pool, chunk_size=4):
    return Dispatch(pool, chunk_size, lambda item: len(item.ballast))


def numbers(results):
    return Counter(item.number for item, _ in results)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(holds, within_s=10.0):
    deadline_s = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return holds()


def test_every_item_once_over_all_nodes(pool):
    results = list(dispatch(pool).run(Item(n, 0.1) for n in range(50)))
    assert numbers(results) == Counter(range(50))
    assert all(result.number == item.number**2 for item, result in results)
    assert len({result.node_id for _, result in results}) == 2


def test_workers_stay_for_the_next_run_and_source_is_taken_as_needed(pool):
    work = dispatch(pool)
    first = set[int]()
    while len(first) < 2:  # on a busy machine one worker may have started after the other was done
        first |= {result.pid for _, result in work.run(Item(n, 0.1) for n in range(30))}
    num_taken = num_done = most_ahead = 0

    def source():
        nonlocal num_taken
        for n in range(100):
            num_taken += 1
            yield Item(n, 0.01)

    for _, result in work.run(source()):
        assert result.pid in first
        num_done += 1
        most_ahead = max(most_ahead, num_taken - num_done)
    assert num_done == 100
    assert 16 <= most_ahead <= 28  # two workers with two chunks of four, one chunk ready, and what is just arriving


def test_chunks_in_flight_take_half_of_the_object_store_at_most(pool):
    ballast, num_open, most = bytes(20 * 2**20), 0, 0

    def source():
        nonlocal num_open, most
        for n in range(8):
            num_open += 1
            most = max(most, num_open)
            yield Item(n, 0.05, ballast=ballast)

    for _ in dispatch(pool, chunk_size=1).run(source()):
        num_open -= 1
    assert most <= 3  # 2 of 20 MiB are half of 80; without a bound two workers would have 4, and 1 more would wait


def test_a_killed_worker_loses_nothing_and_repeats_nothing(pool, capfd):
    results, killed, given = [], None, []

    def items():
        """Give work until the one that replaces the killed worker has done some, however long its start takes."""
        while len({result.pid for _, result in results}) < 3 and len(given) < 2000:
            given.append(len(given))
            yield Item(given[-1], 0.05)

    for item, result in dispatch(pool).run(items()):
        results.append((item, result))
        if len(results) == 10:
            killed = result.pid
            os.kill(killed, signal.SIGKILL)
    assert numbers(results) == Counter(given)
    assert not any(isinstance(result, Lost) for _, result in results)
    assert {result.pid for _, result in results} > {killed}
    assert len({result.pid for _, result in results}) == 3  # one was replaced
    assert len(pool.notices) == 1
    assert "died: its worker process has died" in pool.notices[0]
    assert capfd.readouterr() == ("", "")  # not a word of Ray's own


def test_an_item_that_kills_workers_is_given_up_alone(pool):
    results = dict(dispatch(pool, chunk_size=16).run(Item(n, 0.02, kills=n == 21) for n in range(40)))
    lost = {item.number: result for item, result in results.items() if isinstance(result, Lost)}
    assert len(results) == 40
    assert list(lost) == [21]
    assert "3 workers died of it, the last one on " in lost[21].reason
    assert "its worker process has died" in lost[21].reason


def test_what_shares_a_worker_with_it_is_not_blamed(cluster):
    pool = WorkerPool(cluster, MakeSquares(), Placement(1, 1, 0))
    items = [Item(0, 0.3, kills=True), Item(1, 0.3)]  # both are at the worker when it dies
    results = {item.number: result for item, result in dispatch(pool, chunk_size=1).run(items)}
    pool.close()
    assert isinstance(results[0], Lost)
    assert results[1].number == 1


def test_our_errors_end_the_run_and_name_the_node(pool):
    results = []
    with pytest.raises(UnavailableError, match=r"On .*\(.*\): No server answers at http://nowhere\."):
        for item, result in dispatch(pool).run(Item(n, 0.02, raises="ours" * (n == 30)) for n in range(60)):
            results.append((item, result))
    assert numbers(results) == Counter({item.number for item, _ in results})
    assert {28, 29} <= set(numbers(results))  # the same worker had them before
    assert pool.members == []


def test_what_nobody_expected_is_tried_on_other_workers(pool):
    results = dict(dispatch(pool, chunk_size=2).run(Item(n, 0.02, raises="other" * (n == 3)) for n in range(8)))
    reasons = {item.number: result.reason for item, result in results.items() if isinstance(result, Lost)}
    assert len(results) == 8
    assert list(reasons) == [3]
    assert "KeyError: 'no such thing as 3' (at " in reasons[3]


def test_stopping_finishes_what_was_begun_and_nothing_else(cluster, tmp_path):
    log = tmp_path / "begun"
    pool = WorkerPool(cluster, MakeSquares(log=log), Placement(2, 1, 0))
    results: list[int] = []
    for item, _ in dispatch(pool, chunk_size=8).run((Item(n, 0.1) for n in range(200)), lambda: bool(results)):
        results.append(item.number)
    begun = [int(line) for line in log.read_text().split()]
    assert sorted(results) == sorted(begun)
    assert len(begun) < 32
    again = list(dispatch(pool).run(Item(n) for n in range(5)))
    pool.close()
    assert numbers(again) == Counter(range(5))


def test_closing_early_ends_the_workers(pool):
    run = dispatch(pool).run(Item(n, 0.05) for n in range(100))
    pids = {next(run)[1].pid for _ in range(20)}
    run.close()
    assert eventually(lambda: not any(map(is_running, pids)))


def test_no_room_is_said(cluster):
    pool = WorkerPool(cluster, MakeSquares(), Placement(1, 64, 0), patience_s=1)
    with pytest.raises(UnavailableError, match="had room for a worker for 1 s; each needs 64 CPUs"):
        list(dispatch(pool).run([Item(1)]))


def test_workers_that_die_at_their_start_end_the_run(cluster):
    pool = WorkerPool(cluster, MakeSquares(kills=True), Placement(2, 1, 0))
    with pytest.raises(UnavailableError, match="5 workers died one after another while they started"):
        list(dispatch(pool).run([Item(1), Item(2)]))


def test_the_makers_secret_is_in_no_file_of_ray(pool, nodes):
    list(dispatch(pool).run([Item(1), Item(2)]))
    pool.close()
    files = [path for path in nodes.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.stat().st_size for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]  # of all tests of this session
