"""A job for tests of the cluster: each item says what is to happen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightwords.cluster import Placement
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


@dataclass(frozen=True)
class MakeSquares:
    """Makes the job.

    Attributes:
        secret: what nobody may see.
        kills: whether making it ends the process.
        fails: whether it cannot be made.
        log: file that gets a line for each item that was begun.
    """

    secret: str = ""
    kills: bool = False
    fails: bool = False
    log: Path | None = None

    def __repr__(self) -> str:
        return "MakeSquares()"

    def __call__(self, placement: Placement) -> Squares:
        if self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails:
            raise ModelError("There is no folder /m.")
        if self.secret:
            os.environ["SIGHTWORDS_TEST_SECRET"] = self.secret
        return Squares(self.log)


class Squares:
    """Squares numbers."""

    def __init__(self, log: Path | None) -> None:
        self._log = log

    def run(self, items: Sequence[Item], stopping: Callable[[], bool]) -> Iterator[tuple[int, Any]]:
        import ray

        node_id = ray.get_runtime_context().get_node_id()
        for position, item in enumerate(items):
            if stopping():
                return
            if self._log:
                with self._log.open("a") as file:
                    file.write(f"{item.number}\n")
            time.sleep(item.sleep_s)
            if item.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            if item.raises == "ours":
                raise UnavailableError("No server answers at http://nowhere.")
            if item.raises:
                raise KeyError(f"no such thing as {item.number}")
            yield position, Squared(item.number**2, os.getpid(), node_id)
