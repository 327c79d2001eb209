"""Times several ways of the same work in turn, so that what else the machine does meets them alike."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch


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
