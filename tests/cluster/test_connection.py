"""Finding and starting a Ray cluster, and how many workers it gets."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from sightwords.cluster import Placement, Workers
from sightwords.cluster.connection import connect, place
from sightwords.errors import ConfigError, MissingExtraError, UnavailableError
from support.ray_jobs import make_squares

pytest.importorskip("ray")

import ray

from support.ray_nodes import shared_nodes


def test_an_address_where_nothing_answers_is_said_at_once(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        dead_address = f"127.0.0.1:{listener.getsockname()[1]}"
    start_s = time.monotonic()
    with pytest.raises(UnavailableError, match=f"No Ray cluster answers at {dead_address}"):
        connect(dead_address)
    monkeypatch.setenv("RAY_ADDRESS", dead_address)
    with pytest.raises(UnavailableError, match=f"No Ray cluster answers at {dead_address}"):
        connect()
    assert time.monotonic() - start_s < 10


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_the_client_and_the_job_server_are_refused(address):
    with pytest.raises(ConfigError, match="must be HOST:PORT"):
        connect(address)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"sightwords\[ray\]"):
        connect()


@pytest.mark.slow
def test_a_connection_that_was_there_is_used_and_left():
    ray.init(address=shared_nodes().address, logging_level="ERROR")
    try:
        squares = Workers(make_squares)
        assert squares.placement == Placement(2, 1, 0)
        squares.close()
        assert ray.nodes()
    finally:
        ray.shutdown()


HEAD, SMALL, LARGE = {"object_store_memory": 1.0}, {"CPU": 4.0}, {"CPU": 16.0}
GPUS = {"CPU": 32.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("nodes", "wanted", "device", "expected"),
    [
        ([SMALL], None, "auto", Placement(1, 4, 0)),
        ([HEAD, SMALL, LARGE], None, "auto", Placement(2, 4, 0)),
        ([SMALL, LARGE], 4, "auto", Placement(4, 2, 0)),
        ([SMALL], 9, "auto", Placement(9, 1, 0)),
        ([HEAD], None, "auto", Placement(1, 1, 0)),
        ([SMALL, GPUS, GPUS], None, "auto", Placement(16, 1, 1)),
        ([GPUS], 3, "cuda", Placement(3, 1, 1)),
        ([GPUS], None, "cpu", Placement(1, 32, 0)),
    ],
)
def test_one_worker_for_each_gpu_else_for_each_node(nodes, wanted, device, expected, monkeypatch):
    alive = [{"Alive": True, "Resources": node} for node in nodes]
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": GPUS}])
    assert place(wanted, device) == expected
    assert place(wanted, "cpu", computes=False).num_cpus == 1


def test_a_gpu_that_is_asked_for_must_be_there(monkeypatch):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": SMALL}])
    with pytest.raises(ConfigError, match="no node of the Ray cluster has one"):
        place(None, "cuda")
