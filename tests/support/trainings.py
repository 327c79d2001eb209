"""Trainings in processes of their own, started one by one, which may be killed."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from sightwords.stages.train.config import TrainConfig

FORKS = Path(__file__).with_name("train_forks.py")


class Trainings:
    """Starts trainings one by one and may kill them.

    Args:
        folder: for what it must write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        with (folder / "errors").open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(FORKS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=env,
            )  # fmt: skip

    def __enter__(self) -> Trainings:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        assert self._process.wait(60) == 0

    def run(
        self, config: TrainConfig, world_size: int = 1, kill_after_s: float | None = None
    ) -> tuple[set[int], float]:
        """Return the exit statuses and the seconds."""
        path = self._folder / "config.pickle"
        path.write_bytes(pickle.dumps(config))
        self._process.stdin.write(f"{world_size} {_free_port()} {path}\n")
        self._process.stdin.flush()
        pids, start_s = [int(pid) for pid in self._process.stdout.readline().split()], time.perf_counter()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[-1], signal.SIGKILL)
        statuses = {int(status) for status in self._process.stdout.readline().split()}
        return statuses, time.perf_counter() - start_s

    def errors(self) -> str:
        return (self._folder / "errors").read_text()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
