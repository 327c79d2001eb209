from __future__ import annotations

import pytest

from sightwords.cluster.placement import Node, Placement, gpu_of, plan
from sightwords.errors import ConfigError


def node(num_cpus: float, num_gpus: float = 0) -> Node:
    return Node("id", num_cpus, num_gpus, 2**30)


HEAD, SMALL, LARGE = node(0), node(4), node(16)


@pytest.mark.parametrize(
    ("nodes", "wanted", "expected"),
    [
        ([SMALL], None, Placement(1, 4, 0)),
        ([HEAD, SMALL, SMALL], None, Placement(2, 4, 0)),
        ([SMALL, LARGE], None, Placement(2, 4, 0)),
        ([SMALL, LARGE], 4, Placement(4, 2, 0)),
        ([LARGE], 3, Placement(3, 5, 0)),
        ([SMALL], 9, Placement(9, 1, 0)),
        ([HEAD], None, Placement(1, 1, 0)),
        ([SMALL, node(32, 8), node(16, 2)], None, Placement(10, 4, 1)),
        ([node(96, 4)], None, Placement(4, 8, 1)),
        ([node(2, 4)], None, Placement(4, 1, 1)),
        ([node(32, 8)], 3, Placement(3, 4, 1)),
    ],
)
def test_one_worker_for_each_gpu_else_for_each_node(nodes, wanted, expected):
    assert plan(nodes, wanted) == expected


def test_gpus_are_left_alone_where_the_cpu_is_asked_for_and_needed_where_a_gpu_is():
    assert plan([node(8, 2), node(8, 2)], None, "never") == Placement(2, 8, 0)
    assert plan([node(8, 2)], None, "always") == Placement(2, 4, 1)
    with pytest.raises(ConfigError, match="no node of the Ray cluster has one"):
        plan([SMALL], None, "always")


def test_who_only_waits_takes_one_cpu():
    assert plan([LARGE, LARGE], None, "never", whole=False) == Placement(2, 1, 0)


def test_what_a_worker_takes_in_words():
    assert [str(Placement(9, *each)) for each in ((1, 0), (4, 0), (8, 1))] == ["1 CPU", "4 CPUs", "8 CPUs and 1 GPU"]


def test_the_device_says_whether_gpus_are_used():
    assert [gpu_of(name) for name in ("auto", "cpu", "cuda", "cuda:1")] == ["auto", "never", "always", "always"]
