"""The Ray cluster: found or started, and how many workers it has room for."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import Any, NamedTuple

from sightwords.errors import ConfigError, MissingExtraError, UnavailableError

_DIAL_S = 2.0


class Placement(NamedTuple):
    """How many workers there are, and the CPUs and GPUs (0 or 1) that each takes."""

    num_workers: int
    num_cpus: int
    num_gpus: int

    @property
    def device(self) -> str:
        """Where a worker computes: `cuda` or `cpu`."""
        return "cuda" if self.num_gpus else "cpu"


def ray_library() -> Any:
    """Return the module ray, with Ray Data.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "ray") from None
    return ray


def connect(address: str = "auto") -> bool:
    """Connect this process to a Ray cluster; return False where it is connected already.

    Args:
        address: `HOST:PORT` of the head node; `auto` takes $RAY_ADDRESS, else the cluster that runs on this machine,
            else starts one on this machine; `local` starts one.

    Raises:
        MissingExtraError: ray is not installed.
        ConfigError: the address is one of Ray's client or job server.
        UnavailableError: nothing answers at the address, or it runs other versions.
    """
    ray = ray_library()
    if ray.is_initialized():
        return False
    given = os.environ.get("RAY_ADDRESS") if address == "auto" else address
    if given and "://" in given:
        raise ConfigError(
            f"The Ray address is {given}; it must be HOST:PORT of the head node, on a machine that is part of the "
            "cluster. From elsewhere, submit the command as a job: ray job submit -- sightwords ..."
        )
    if given and ":" in given and not _answers(given):  # Ray itself would try for minutes
        raise UnavailableError(f"No Ray cluster answers at {given}. Start one with: ray start --head")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(given, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise UnavailableError(f"Cannot connect to the Ray cluster at {given or 'this machine'}: {said}.") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # ray.init replaces it
    return True


def place(wanted: int | None, device: str = "auto", computes: bool = True) -> Placement:
    """Return how many workers to start on the cluster and what each takes.

    With GPUs that is one worker for each. Without, one for each node with all its CPUs, or `wanted` workers evenly over
    the nodes.

    Args:
        wanted: number of workers, None for the default.
        device: `cpu`, or `cuda` for GPUs; `auto` takes GPUs where the cluster has any.
        computes: whether workers compute; those that only wait for a server take one CPU each.

    Raises:
        ConfigError: GPUs are asked for and there are none.
    """
    nodes = [node["Resources"] for node in ray_library().nodes() if node["Alive"]]
    num_gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if device not in ("auto", "cpu") and not num_gpus:
        raise ConfigError("--device asks for a GPU, but no node of the Ray cluster has one. Use --device auto.")
    if device != "cpu" and num_gpus:
        return Placement(wanted or num_gpus, 1, 1)
    num_cpus = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1] or [1]  # a head node may give away none
    num_workers = wanted or len(num_cpus)
    share = min(num_cpus) // -(-num_workers // len(num_cpus))
    return Placement(num_workers, max(share, 1) if computes else 1, 0)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _DIAL_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False
