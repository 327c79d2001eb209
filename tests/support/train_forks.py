"""Runs trainings, each in processes of its own, without importing torch and timm again for each.

Started as `python train_forks.py`. Each line of standard input is `WORLD_SIZE PORT CONFIG`, a pickled TrainConfig; the
answer is a line with the processes' ids and, when all have ended, one with their exit statuses. Where one of several
ends badly the others are killed, as torchrun does.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from pathlib import Path

import timm  # noqa: F401
import torch

from sightwords.stages.train.run import run


def child(rank: int, world_size: int, port: str, config: Path) -> None:
    if world_size > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.setpgid(0, 0)  # its loader processes die with it
    run(pickle.loads(config.read_bytes()))


def wait(pids: list[int]) -> list[int]:
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


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        world_size, port, config = line.split()
        pids = []
        for rank in range(int(world_size)):
            if not (pid := os.fork()):
                child(rank, int(world_size), port, Path(config))
                os._exit(0)
            pids.append(pid)
        print(*pids, flush=True)
        print(*wait(pids), flush=True)


if __name__ == "__main__":
    main()
