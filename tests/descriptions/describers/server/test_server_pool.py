"""The pool's judgment, with a clock of the test's own."""

from __future__ import annotations

import pytest

from sightwords.descriptions.describers.server import server_pool
from sightwords.descriptions.describers.server.chat_protocol import NotServedError, OverloadedError
from sightwords.descriptions.describers.server.endpoint import read_endpoint
from sightwords.descriptions.describers.server.server_pool import MAX_FAULTS_IN_A_ROW, ServerPool, backoff_s
from sightwords.errors import UnavailableError


def pool_of(*hosts: str, concurrency: int = 8) -> ServerPool:
    return ServerPool([read_endpoint(f"http://{host}/v1", {}) for host in hosts], "m", concurrency, 120, 300)


def test_the_server_with_the_largest_free_share_is_picked():
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


def test_the_avoided_server_is_taken_only_where_no_other_is_free():
    pool = pool_of("a", "b")
    a, b = pool.servers
    b.limit.enter()
    assert pool.pick(0.0) is a
    assert pool.pick(0.0, avoided=a) is b
    b.down("dead", 0.0)
    assert pool.pick(0.0, avoided=a) is a


def test_a_pause_holds_for_as_long_as_was_asked_but_not_longer_than_patience():
    server = pool_of("a").servers[0]
    server.overloaded(OverloadedError("busy", 5), 100.0, 300.0)
    assert not server.is_free(104.9)
    assert server.is_free(105.1)
    server.overloaded(OverloadedError("busy", 86400), 200.0, 300.0)
    assert not server.is_free(499.0)
    assert server.is_free(501.0)


def test_pauses_without_a_stated_length_grow_and_one_burst_makes_one_pause(monkeypatch):
    monkeypatch.setattr(server_pool.random, "uniform", lambda low, high: high)
    server = pool_of("a").servers[0]
    now_s, lengths = 0.0, []
    for _ in range(8):
        for _ in range(50):
            server.overloaded(OverloadedError("busy"), now_s, 300.0)
        start_s = now_s
        while not server.is_free(now_s):
            now_s += 0.25
        lengths.append(now_s - start_s)
    assert lengths == [0.5, 1, 2, 4, 8, 16, 30, 30]
    server.answered()
    server.overloaded(OverloadedError("busy"), now_s, 300.0)
    assert server.is_free(now_s + 0.5)


def test_faults_in_a_row_put_a_server_out_of_order_and_an_answer_in_between_does_not():
    server = pool_of("a").servers[0]
    for _ in range(3):
        for _ in range(MAX_FAULTS_IN_A_ROW - 1):
            server.faulty("500", 10.0)
        server.answered()
    assert not server.is_down
    for second in range(MAX_FAULTS_IN_A_ROW):
        server.faulty("500", 20.0 + second)
    assert server.is_down
    assert server.silent_since_s == 20.0  # since the first of them


def test_a_server_that_is_down_is_looked_at_ever_more_rarely_and_begins_with_one_request(monkeypatch):
    monkeypatch.setattr(server_pool.random, "uniform", lambda low, high: high)
    server = pool_of("a").servers[0]
    now_s, waits = 0.0, []
    server.down("dead", now_s)
    for _ in range(8):
        start_s = now_s
        while not server.is_due(now_s):
            server.down("dead", now_s)  # what was in flight fails too, and changes nothing
            now_s += 0.25
        waits.append(now_s - start_s)
        server.down("dead", now_s)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]
    server.up()
    assert server.is_free(now_s)
    assert server.limit.limit == 1
    server.faulty("500", now_s)
    assert not server.is_down  # nobody listened before; now somebody does, and one fault says little
    assert server.silent_since_s == 0.0  # but only an answer ends the silence


def test_patience_is_counted_from_when_the_last_server_fell_silent():
    pool = pool_of("a", "b")
    a, b = pool.servers
    a.down("dead", 0.0)
    b.overloaded(OverloadedError("429: busy"), 1000.0, 300.0)
    pool.check(1300.0)
    with pytest.raises(UnavailableError, match=r"300 s: http://a/v1 \(dead\), http://b/v1 \(429: busy\)"):
        pool.check(1301.0)
    b.answered()
    pool.check(10**6)


def test_changes_are_told_once_each():
    pool = pool_of("a", "b")
    server = pool.servers[0]
    for _ in range(3):
        server.down("dead", 0.0)
        pool.tell_change(server)
    server.up()
    pool.tell_change(server)
    assert pool.notices == ["The server at http://a/v1 is out of order (dead); it is tried again."]
    for _ in range(3):
        server.answered()
        pool.tell_change(server)
    assert pool.notices[1:] == ["The server at http://a/v1 answers again."]


def test_those_left_out_count_no_more():
    pool = pool_of("a", "b")
    a, b = pool.servers
    for _ in range(2):
        pool.leave_out(a, NotServedError("404: none", 404), ["x", "y"])
    assert len(pool.notices) == 1
    assert "It offers: x, y." in pool.notices[0]
    assert pool.pick(0.0) is b
    assert pool.capacity == b.limit.limit
    b.down("dead", 0.0)
    assert not a.is_due(10**6)
    with pytest.raises(UnavailableError, match=r"No server has answered for 300 s: http://b/v1 \(dead\)"):
        pool.check(301.0)
    pool.leave_out(b, NotServedError("401: no", 401), [])
    with pytest.raises(UnavailableError, match=r"http://a/v1 knows no model 'm'.*http://b/v1 refuses access"):
        pool.check(0.0)


def test_backoff_is_bounded_and_random():
    for num_times, bound_s in ((1, 0.5), (2, 1.0), (5, 8.0), (50, 30.0)):
        drawn = [backoff_s(num_times) for _ in range(200)]
        assert 0 <= min(drawn) < 0.1 * bound_s
        assert 0.9 * bound_s < max(drawn) <= bound_s
