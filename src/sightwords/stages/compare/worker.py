"""One training of a comparison, in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sightwords
from sightwords.files import write_text

if TYPE_CHECKING:
    from multiprocessing import Queue

FINISHED = "finished.json"
IMAGE_OPTIONS = ("images", "train", "val", "classes", "image_column", "label_column", "limit")
_place: dict[str, str] = {}


@dataclass(frozen=True)
class Job:
    """A training and the measuring of its network.

    Attributes:
        folder: the run's folder.
        train: options of the training.
        evaluate: options of `sightwords evaluate` beside run and images.
    """

    folder: Path
    train: sightwords.TrainConfig
    evaluate: dict[str, Any]

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / FINISHED).is_file()


def start_worker(devices: Queue[str], num_threads: int, environment: dict[str, str]) -> None:
    """Prepare a process: its device, its share of the cores, and its end when the parent is gone.

    Args:
        devices: where each process takes its own from.
        num_threads: its share of the cores.
        environment: the parent's; what the process is a copy of may be older.
    """
    os.environ.update(environment)
    import torch

    torch.set_num_threads(num_threads)
    _place["device"] = devices.get()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)  # killed without a word; the checkpoints stay


def do(job: Job) -> None:
    """Train, measure and mark the run as finished; what was done before is not done again."""
    if job.is_finished:
        return
    start_s = time.monotonic()
    config = replace(job.train, device=_place.get("device", job.train.device))
    with _output_to(job.folder / "log.txt"):
        if not (job.folder / "model.safetensors").is_file():
            sightwords.train(config)
        images: dict[str, Any] = {name: getattr(config, name) for name in IMAGE_OPTIONS}
        measuring: dict[str, Any] = {**images, **job.evaluate, "workers": config.workers, "device": config.device}
        sightwords.evaluate(sightwords.EvaluateConfig(job.folder, **measuring))
    shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
    seconds = time.monotonic() - start_s
    write_text(job.folder / FINISHED, json.dumps({"seconds": seconds, "finished_at": time.time()}) + "\n")


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send what is printed to a file: the terminal belongs to the whole comparison."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        yield
    sys.stdout.flush()
