"""Finding, starting and losing a Ray cluster."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sightwords.cluster import Dispatch, Placement, WorkerPool, connection
from sightwords.cluster.connection import Cluster
from sightwords.errors import ConfigError, MissingExtraError, UnavailableError
from support.ray_jobs import Item, MakeSquares

pytest.importorskip("ray")

from support.ray_nodes import shared_nodes


@pytest.fixture
def ray_folder(monkeypatch):
    """A folder for Ray of this test's own, in which no cluster is noted."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory(prefix="sw-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        yield Path(folder)


@pytest.fixture
def dead_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_an_address_where_nothing_answers_is_said_at_once(dead_address):
    start_s = time.monotonic()
    with pytest.raises(UnavailableError, match=f"No Ray cluster answers at {dead_address}"):
        Cluster(dead_address)
    assert time.monotonic() - start_s < 10


def test_the_environments_address_is_never_replaced_by_a_cluster_of_ones_own(dead_address, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", dead_address)
    with pytest.raises(UnavailableError, match=f"No Ray cluster answers at {dead_address}"):
        Cluster("auto")


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_the_client_and_the_job_server_are_refused(address):
    with pytest.raises(ConfigError, match="must be HOST:PORT"):
        Cluster(address)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"sightwords\[ray\]"):
        Cluster("auto")


@pytest.mark.slow
def test_a_cluster_is_started_where_there_is_none_and_its_loss_is_an_error(ray_folder, monkeypatch):
    import ray

    # as Ray notes it: a cluster that has died since
    (ray_folder / "ray").mkdir()
    (ray_folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    monkeypatch.setattr(connection, "GONE_S", 3.0)

    def handler(*_):
        """Stand for the handler of describe."""

    before = signal.signal(signal.SIGTERM, handler)
    cluster = Cluster("auto")
    try:
        assert signal.getsignal(signal.SIGTERM) is handler
        assert cluster.address != "127.0.0.1:9"
        pool = WorkerPool(cluster, MakeSquares(), Placement(1, 1, 0))
        results = []
        with pytest.raises(UnavailableError, match="is gone: its head node has not answered for 3 s"):
            for _, result in Dispatch(pool, 4, lambda item: 1).run(Item(n, 0.1) for n in range(1000)):
                results.append(result.number)
                if len(results) == 5:
                    head = ray._private.worker._global_node
                    head.all_processes["gcs_server"][0].process.kill()
        assert 5 < len(results) < 1000
        assert len(set(results)) == len(results)
    finally:
        cluster.close()
        signal.signal(signal.SIGTERM, before)
    assert not ray.is_initialized()
    assert "RAY_AUTH_MODE" not in os.environ  # else no cluster without tokens could be used from this process


@pytest.mark.slow
def test_a_connection_that_was_there_is_used_and_left():
    import ray

    ray.init(address=shared_nodes().address, logging_level="ERROR")
    try:
        cluster = Cluster("auto")
        assert cluster.address == shared_nodes().address
        cluster.close()
        assert ray.is_initialized()
        assert ray.nodes()
    finally:
        ray.shutdown()
