"""How many workers a cluster gets, and what each of them takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sightwords.errors import ConfigError

Gpu = Literal["auto", "never", "always"]

_MAX_CPUS_BESIDE_GPU = 8  # they decode images


@dataclass(frozen=True)
class Node:
    """A living node of the cluster.

    Attributes:
        node_id: Ray's ID.
        num_cpus: CPUs that Ray may give away.
        num_gpus: GPUs likewise.
        store_bytes: size of its object store.
    """

    node_id: str
    num_cpus: float
    num_gpus: float
    store_bytes: float


@dataclass(frozen=True)
class Placement:
    """How many workers there are, and what each of them takes.

    Attributes:
        num_workers: workers.
        num_cpus: CPUs of a worker.
        num_gpus: GPUs of a worker, 0 or 1.
    """

    num_workers: int
    num_cpus: int
    num_gpus: int

    def __str__(self) -> str:
        gpus = f" and {self.num_gpus} GPU" if self.num_gpus else ""
        return f"{self.num_cpus} CPU{'s' if self.num_cpus > 1 else ''}{gpus}"


def gpu_of(device: str) -> Gpu:
    """Return whether workers use GPUs for what the user named as the device."""
    choices: dict[str, Gpu] = {"auto": "auto", "cpu": "never"}
    return choices.get(device.partition(":")[0], "always")


def plan(nodes: Sequence[Node], wanted: int | None, gpu: Gpu = "auto", whole: bool = True) -> Placement:
    """Return how many workers to start on a cluster and what each takes.

    With GPUs that is one worker for each, with an even share of its node's CPUs, at most 8. Without, one for each node
    with all its CPUs, or `wanted` workers evenly over the nodes.

    Args:
        nodes: the cluster's nodes.
        wanted: number of workers, None for the default.
        gpu: whether workers use GPUs; `auto` where the cluster has any.
        whole: whether workers compute; those that only wait for a server take one CPU each.

    Raises:
        ConfigError: GPUs are asked for and there are none.
    """
    with_gpu = [node for node in nodes if node.num_gpus >= 1]
    if gpu == "always" and not with_gpu:
        raise ConfigError("--device asks for a GPU, but no node of the Ray cluster has one. Use --device auto.")
    if gpu != "never" and with_gpu:
        share = min(int(node.num_cpus // node.num_gpus) for node in with_gpu)
        num_gpus = sum(int(node.num_gpus) for node in with_gpu)
        return Placement(wanted or num_gpus, min(max(share, 1), _MAX_CPUS_BESIDE_GPU), 1)
    with_cpu = [node for node in nodes if node.num_cpus >= 1] or list(nodes)  # a head node may give away none
    num_workers = wanted or len(with_cpu)
    per_node = -(-num_workers // len(with_cpu))
    share = int(min(node.num_cpus for node in with_cpu)) // per_node
    return Placement(num_workers, max(share, 1) if whole else 1, 0)
