"""A job for tests of the cluster: each item says what is to happen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sightwords.cluster import Job, Placement
from sightwords.errors import ModelError, UnavailableError


@dataclass(frozen=True)
class Item:
    """A number to square, and what happens on the way.

    Attributes:
        number: the number.
        sleep_s: how long it takes.
        kills: whether the process dies of it.
        raises: what is raised: `ours`, `other`, or nothing.
    """

    number: int
    sleep_s: float = 0.0
    kills: bool = False
    raises: str = ""


@dataclass(frozen=True)
class Squared:
    """A result, and where it was made."""

    number: int
    pid: int
    node_id: str


def make_squares(
    placement: Placement, secret: str = "", kills: bool = False, fails: bool = False, log: Path | None = None
) -> Job:
    """Return the job, which squares numbers.

    Args:
        placement: the workers.
        secret: what nobody may see.
        kills: whether making it ends the process.
        fails: whether it cannot be made.
        log: file that gets a line for each item that was begun.
    """
    if kills:
        os.kill(os.getpid(), signal.SIGKILL)
    if fails:
        raise ModelError("There is no folder /m.")
    return partial(_square, log)


def _square(log: Path | None, items: Sequence[Item], stopping: Callable[[], bool]) -> Iterator[tuple[int, Squared]]:
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    for position, item in enumerate(items):
        if stopping():
            return
        if log:
            with log.open("a") as file:
                file.write(f"{item.number}\n")
        time.sleep(item.sleep_s)
        if item.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if item.raises == "ours":
            raise UnavailableError("No server answers at http://nowhere.")
        if item.raises:
            raise KeyError(f"no such thing as {item.number}")
        yield position, Squared(item.number**2, os.getpid(), node_id)
