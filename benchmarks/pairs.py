"""Times several ways of the same work in turn, so that what else the machine does meets them alike; or each alone."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

LIBRARIES = (
    "torchvision.datasets",
    "sightwords.images.loader",
    "sightwords.text.embed",
    "sightwords.training.task",
)


@dataclass(frozen=True)
class Timing:
    """Seconds of one way, one number for each round.

    Attributes:
        wall_s: by the clock.
        cpu_s: processor time of this process, which other work disturbs less.
    """

    wall_s: list[float]
    cpu_s: list[float]


def in_turn(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Run every way once unmeasured and then `repeats` times, the ways in turn.

    Args:
        ways: by name.
        repeats: rounds.
    """
    for way in ways.values():
        way()
    found = {name: Timing([], []) for name in ways}
    for round_ in range(repeats):
        names = list(ways) if round_ % 2 == 0 else list(ways)[::-1]
        for name in names:
            wall, cpu = time.perf_counter(), time.process_time()
            ways[name]()
            found[name].wall_s.append(time.perf_counter() - wall)
            found[name].cpu_s.append(time.process_time() - cpu)
    return found


@contextmanager
def processes() -> Iterator[Callable[..., Any]]:
    """Yield a function that calls a function with arguments in a process of its own and returns what it returns.

    Each process is forked from one that has imported the libraries, so that imports are not measured. What is returned
    must be of types that this process knows, not of those of the script that runs.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    usual = multiprocessing.get_start_method()
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        yield lambda function, *arguments: pool.submit(_call, usual, function, arguments).result()


def _call(start_method: str, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    multiprocessing.set_start_method(start_method, force=True)  # of processes that it starts in its turn
    return function(*arguments)


def ratio(peer: Sequence[float], own: Sequence[float]) -> str:
    """Return how many times as fast the own way is: the median over rounds, and the range."""
    ratios = sorted(a / b for a, b in zip(peer, own, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine() -> str:
    """Return what a figure depends on: processor, cores, load, versions."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{model}, {os.cpu_count()} cores, {gpu}; torch {torch.__version__}; load of the machine {load:.1f}"
