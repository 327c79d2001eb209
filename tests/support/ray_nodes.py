"""A small Ray cluster on this machine, started once for all tests that need one: three nodes of one CPU each."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
import unittest.mock
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster as RayNodes

NODE = {"object_store_memory": 80 * 2**20, "include_log_monitor": False}


class Nodes:
    """The nodes.

    Attributes:
        folder: where Ray keeps its sockets and logs.
        address: of the head node, which gives away no CPU: what runs on the others can be taken away.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sw-ray-", dir="/tmp"))  # paths of sockets must be short
        head = {"num_cpus": 0, "include_dashboard": False, **NODE}
        with self._environment():
            self._nodes = RayNodes(initialize_head=True, head_node_args=head)
        for _ in range(2):
            self.add()
        self.address: str = self._nodes.address

    def add(self) -> Any:
        """Start one more node of one CPU."""
        with self._environment():
            return self._nodes.add_node(num_cpus=1, **NODE)

    def remove(self, node_id: str) -> None:
        """End a node with everything on it, as if its power were cut."""
        node = next(one for one in self._nodes.worker_nodes if one.node_id == node_id)
        self._nodes.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        """End all nodes."""
        self._nodes.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def _environment(self) -> Iterator[None]:
        """Set what the nodes' processes inherit: where Ray writes, and where the tests' own jobs are found."""
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        ours = {"RAY_TMPDIR": str(self.folder), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        ours["RAY_worker_niceness"] = "0"  # else other tests would take the processor from workers that start
        with unittest.mock.patch.dict(os.environ, ours):
            yield


@functools.cache
def shared_nodes() -> Nodes:
    """Return the cluster of this test session."""
    nodes = Nodes()
    atexit.register(nodes.stop)
    return nodes


def pids_of_workers() -> list[int]:
    """Return the processes on this machine that run workers, oldest first."""
    names = [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"ray::MapWorker" in path.read_bytes()]
    return sorted(int(path.parent.name) for path in names)
