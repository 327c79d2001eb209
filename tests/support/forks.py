"""Runs a function again and again in processes of its own, which may be killed, and imports it only once.

`Forks` starts this file as `python forks.py MODULE:FUNCTION`. Each line that it gets is a JSON list of argument lists,
one for each process, which is forked from one that has imported everything. It answers with a line of their ids and,
when all have ended, one of their exit statuses. Where one ends badly the others are killed, as torchrun does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class Forks:
    """Starts processes that call one function, and may kill them.

    Args:
        target: the function, as `module:name`; the module lies in `tests` or is installed.
        errors: the file for all that the processes write to standard error.
    """

    def __init__(self, target: str, errors: Path) -> None:
        tests = str(Path(__file__).parents[1])
        path = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": path}
        self._errors = errors
        with errors.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, __file__, target], env=env, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.stdin.close()
        status = self._process.wait(60)
        assert kind is not None or status == 0, self.errors()

    def run(self, *calls: list, kill_after_s: float | None = None) -> tuple[set[int], float]:
        """Call the function in a process for each list of arguments; return the exit statuses and the seconds.

        Args:
            calls: the arguments of each process, as JSON can hold them.
            kill_after_s: when to kill the last process with SIGKILL, None for never.
        """
        self._process.stdin.write(json.dumps(calls) + "\n")
        self._process.stdin.flush()
        pids, start_s = [int(pid) for pid in self._process.stdout.readline().split()], time.perf_counter()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[-1], signal.SIGKILL)
        statuses = {int(status) for status in self._process.stdout.readline().split()}
        return statuses, time.perf_counter() - start_s

    def errors(self) -> str:
        """Return all that the processes wrote to standard error."""
        return self._errors.read_text()


def _wait(pids: list[int]) -> list[int]:
    left, statuses = dict.fromkeys(pids), dict.fromkeys(pids, 0)
    while left:
        for pid in list(left):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                statuses[pid] = os.waitstatus_to_exitcode(status)
                del left[pid]
        if any(statuses.values()):
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return list(statuses.values())


def _main() -> None:
    module, name = sys.argv[1].split(":")
    function = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        pids = []
        for arguments in json.loads(line):
            if not (pid := os.fork()):
                os.setpgid(0, 0)  # loader processes that it starts die with it
                function(*arguments)
                os._exit(0)
            pids.append(pid)
        print(*pids, flush=True)
        print(*_wait(pids), flush=True)


if __name__ == "__main__":
    _main()
