"""What the pool decides, with a clock of the test's own."""

from __future__ import annotations

import pytest

from sightwords.descriptions.describers import server_pool
from sightwords.descriptions.describers.endpoint import ServerError, read_endpoint
from sightwords.descriptions.describers.server_pool import MAX_FAULTS_IN_A_ROW, Server, ServerPool, backoff_s
from sightwords.errors import UnavailableError


def pool_of(*hosts: str, is_reached: bool = True) -> ServerPool:
    servers = [Server(read_endpoint(f"http://{host}/v1", {}), 8, 120) for host in hosts]
    for server in servers if is_reached else ():
        server.up()
    return ServerPool(servers, "m", 300)


def fail(pool: ServerPool, server: Server, kind: ServerError.Kind, words: str, now_s: float, **more: float) -> None:
    pool.note(server, ServerError(kind, words, **more), 0, now_s)


@pytest.fixture
def no_jitter(monkeypatch):
    monkeypatch.setattr(server_pool.random, "uniform", lambda low, high: high)


def test_the_server_with_the_largest_free_part_is_picked_and_the_avoided_one_last():
    pool = pool_of("a", "b")
    a, b = pool.servers
    a.limit.restart(8)
    b.limit.restart(2)
    picked = []
    for _ in range(10):
        server = pool.pick(0.0)
        server.limit.enter()
        picked.append(server)
    assert pool.pick(0.0) is None
    assert (picked.count(a), picked.count(b)) == (8, 2)
    assert b in picked[:3]
    b.limit.leave()
    assert pool.pick(0.0, avoided=b) is b
    a.limit.leave()
    assert pool.pick(0.0, avoided=b) is a


def test_a_pause_holds_for_as_long_as_was_asked_but_not_longer_than_patience():
    pool = pool_of("a")
    (server,) = pool.servers
    for start_s, asked_s, held_s in ((100.0, 5.0, 5.0), (200.0, 86400.0, 300.0)):
        fail(pool, server, "overloaded", "busy", start_s, wait_s=asked_s)
        assert not server.is_free(start_s + held_s - 0.1)
        assert server.is_free(start_s + held_s + 0.1)


@pytest.mark.parametrize("kind", ["overloaded", "unreachable"])
def test_pauses_grow_and_one_burst_of_errors_makes_one_pause(kind, no_jitter):
    pool = pool_of("a")
    (server,) = pool.servers
    is_over = server.is_free if kind == "overloaded" else server.is_due
    now_s, lengths = 1000.0, []
    for _ in range(8):
        start_s = now_s
        fail(pool, server, kind, "busy", now_s)
        while not is_over(now_s):
            fail(pool, server, kind, "busy", now_s)
            now_s += 0.25
        lengths.append(now_s - start_s)
    assert lengths == [0.5, 1, 2, 4, 8, 16, 30, 30]
    pool.note(server, None, 0, now_s)
    fail(pool, server, kind, "busy", now_s)
    assert is_over(now_s + 0.5)


def test_a_server_that_was_down_begins_with_one_request():
    pool = pool_of("a")
    (server,) = pool.servers
    assert server.limit.limit > 1
    fail(pool, server, "unreachable", "dead", 1.0)
    assert pool.capacity == 0
    server.up()
    assert pool.capacity == 1


def test_faults_in_a_row_put_a_server_out_of_order_and_an_answer_in_between_does_not():
    pool = pool_of("a")
    (server,) = pool.servers
    for _ in range(3):
        for _ in range(MAX_FAULTS_IN_A_ROW - 1):
            fail(pool, server, "no answer", "500", 10.0)
        pool.note(server, None, 0, 10.0)
    assert not server.is_down
    for second in range(MAX_FAULTS_IN_A_ROW):
        fail(pool, server, "no answer", "500", 20.0 + second)
    assert server.is_down
    assert server.silent_since_s == 20.0  # since the first of them


def test_patience_is_counted_from_when_the_last_server_fell_silent():
    pool = pool_of("a", "b")
    a, b = pool.servers
    fail(pool, a, "unreachable", "dead", 1.0)
    fail(pool, b, "overloaded", "429: busy", 1000.0)
    pool.check(1299.0)
    with pytest.raises(UnavailableError, match=r"300 s: http://a/v1 \(dead\), http://b/v1 \(429: busy\)"):
        pool.check(1301.0)
    for is_answer in (True, False):  # a refusal is a sign of life, too
        fail(pool, b, "overloaded", "429: busy", 1000.0)
        pool.note(b, None if is_answer else ServerError("refused", "400: too hot"), 0, 1301.0)
        pool.check(10**6)


def test_those_left_out_count_no_more():
    pool = pool_of("a", "b")
    a, b = pool.servers
    a.offered = ["x", "y"]
    for _ in range(2):
        fail(pool, a, "not served", "404: none", 1.0, status=404)
    assert len(pool.notices) == 1
    assert "It offers: x, y." in pool.notices[0]
    assert pool.pick(1.0) is b
    assert pool.capacity == b.limit.limit
    fail(pool, b, "not served", "401: no", 1.0, status=401)
    with pytest.raises(UnavailableError, match=r"http://a/v1 knows no model 'm'.*http://b/v1 refuses access"):
        pool.check(1.0)


def test_backoff_is_bounded_and_random():
    for num_times, bound_s in ((1, 0.5), (2, 1.0), (5, 8.0), (50, 30.0)):
        drawn = [backoff_s(num_times) for _ in range(200)]
        assert 0 <= min(drawn) < 0.1 * bound_s
        assert 0.9 * bound_s < max(drawn) <= bound_s
