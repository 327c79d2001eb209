"""Trainings that are killed: at a step, or in processes of their own, started one by one."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import timm  # noqa: F401
import torch

from sightwords.models.run_folder import RunFolder
from sightwords.training.config import TrainConfig
from sightwords.training.loop import Loop
from sightwords.training.run import train as run
from support.forks import Forks
from support.ports import free_port


class KilledError(Exception):
    pass


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Let a training in this block die when it has taken so many steps."""
    original = Loop.step

    def dying(self, batches):
        if self.state.step == step:
            raise KilledError
        original(self, batches)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Loop, "step", dying)
        yield


def small_training(images: Path | str, out: Path, **options: Any) -> TrainConfig:
    """Return a training of a second or two on the CPU."""
    small = {"model": "test_resnet", "image_size": 32, "epochs": 2, "batch_size": 8, "warmup_epochs": 0}
    return TrainConfig(str(images), out=out, **{**small, "workers": 0, "device": "cpu", **options})


def metrics(config: TrainConfig) -> list[dict[str, Any]]:
    """Return the metrics of a run without times."""
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in RunFolder(config.out).metrics()]


class Trainings(Forks):
    """Starts trainings one by one and may kill them.

    Args:
        folder: for what it must write.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("support.trainings:train", folder / "errors")
        self._config = folder / "config.pickle"

    def train(
        self, config: TrainConfig, world_size: int = 1, kill_after_s: float | None = None
    ) -> tuple[set[int], float]:
        """Return the exit statuses and the seconds."""
        self._config.write_bytes(pickle.dumps(config))
        port = free_port()
        calls = [[rank, world_size, port, str(self._config)] for rank in range(world_size)]
        return self.run(*calls, kill_after_s=kill_after_s)


def train(rank: int, world_size: int, port: int, config: str) -> None:
    """Train as one process of several, as torchrun would start it."""
    torch.set_num_threads(1)
    if world_size > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    run(pickle.loads(Path(config).read_bytes()))
