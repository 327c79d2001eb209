"""Does the jobs of a comparison, several at once, and shows how far all of them are."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, replace
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sightwords
from sightwords.errors import ArtifactError, SightwordsError
from sightwords.files import write_text
from sightwords.images.config import ImagesConfig
from sightwords.models.run_folder import RunFolder
from sightwords.progress import Progress

if TYPE_CHECKING:
    from multiprocessing import Queue

POLL_S = 1.0
PRELOADED = ["sightwords.training.run", "sightwords.evaluation.evaluate"]  # what a worker needs
IMAGE_OPTIONS = [option.name for option in fields(ImagesConfig)]
_place: dict[str, str] = {}


@dataclass(frozen=True)
class Job:
    """A training, and what of `sightwords evaluate` measures its network, beside run and images."""

    train: sightwords.TrainConfig
    evaluate: dict[str, Any]

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return (self.train.out / "finished.json").is_file()

    @property
    def num_epochs(self) -> int:
        """How many epochs are done; of a training that stopped early, all."""
        if self.is_finished:
            return self.train.epochs
        records = RunFolder(self.train.out).metrics()
        return min(self.train.epochs, int(records[-1]["epoch"])) if records else 0


def start_worker(devices: Queue[str], num_threads: int, environment: dict[str, str]) -> None:
    """Prepare a process: its own device, its share of the cores, and its end when the parent is gone."""
    os.environ.update(environment)  # the parent's; what this process is a copy of may be older
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
    start_s = time.monotonic()
    config = replace(job.train, device=_place.get("device", job.train.device))
    images: dict[str, Any] = {name: getattr(config, name) for name in IMAGE_OPTIONS}
    measuring = {**images, **job.evaluate, "workers": config.workers, "device": config.device}
    config.out.mkdir(parents=True, exist_ok=True)
    # the terminal belongs to the whole comparison
    log = (config.out / "log.txt").open("a", encoding="utf-8", buffering=1)
    with log, redirect_stdout(log), redirect_stderr(log):
        if not RunFolder(config.out).weights_path.is_file():
            sightwords.train(config)
        sightwords.evaluate(sightwords.EvaluateConfig(config.out, **measuring))
    shutil.rmtree(config.out / "checkpoints", ignore_errors=True)
    done = {"seconds": time.monotonic() - start_s, "finished_at": time.time()}
    write_text(config.out / "finished.json", json.dumps(done) + "\n")


def devices(asked: str, parallel: int) -> list[str]:
    """Return the device of each process: the GPUs in turn, or `asked` for all; 0 is one for each GPU, or one."""
    if asked != "auto":
        return [asked] * max(1, parallel)
    import torch

    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["auto"]
    return [found[number % len(found)] for number in range(parallel or len(found))]


def do_all(jobs: Sequence[Job], places: Sequence[str]) -> None:
    """Do every job that is not finished, on as many processes as there are places, each with its device.

    A job that fails does not keep the others from being done; the error names all that failed.

    Raises:
        SightwordsError: jobs failed, or a process was killed.
    """
    open_jobs = [job for job in jobs if not job.is_finished]
    total = sum(job.train.epochs for job in jobs)
    done = total - sum(job.train.epochs for job in open_jobs)
    with Progress("Comparing", total, "epochs", done) as progress, _pool(places) as pool:
        futures = {pool.submit(do, job): job for job in open_jobs}
        try:
            failed = _watch(futures, done, len(places), progress)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    if failed:
        raise _error(failed, len(jobs))


def _pool(places: Sequence[str]) -> ProcessPoolExecutor:
    """Return processes that are no copies of this one, since CUDA cannot be used after a fork.

    On Linux they are copies of a process that has imported everything and touched no device.
    """
    context: BaseContext = multiprocessing.get_context("spawn")
    if sys.platform == "linux":  # elsewhere not all libraries can be forked
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
    queue = context.Queue()
    for place in places:
        queue.put(place)
    num_threads = max(1, (os.cpu_count() or 1) // len(places))
    return ProcessPoolExecutor(len(places), context, start_worker, (queue, num_threads, dict(os.environ)))


def _watch(
    futures: dict[Future[None], Job], before: int, num_processes: int, progress: Progress
) -> dict[Path, BaseException]:
    """Wait for all jobs and return the errors of those that failed, by their folders."""
    waiting = set(futures)
    while waiting:
        _, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
        epochs = before + sum(job.num_epochs for job in futures.values())
        # in order of submission; the pool calls one more running than it has processes
        running = [job.train.out for future, job in futures.items() if future in waiting and future.running()]
        ready = sum(job.is_finished for job in futures.values())
        now = ", ".join("/".join(folder.parts[-4:]) for folder in running[:num_processes])
        progress.advance(max(0, epochs - progress.done), f"{ready} of {len(futures)} trainings; now {now}")
    return {job.train.out: error for future, job in futures.items() if (error := future.exception()) is not None}


def _error(failed: dict[Path, BaseException], num_jobs: int) -> SightwordsError:
    """Return one error for all that failed."""
    lines = []
    for folder, error in failed.items():
        reason = "its process was killed (too little memory?)" if isinstance(error, BrokenProcessPool) else str(error)
        lines.append(f"  {folder}: {reason or type(error).__name__}")
    text = "\n".join(lines[:5] + ([f"  and {len(lines) - 5} more"] if len(lines) > 5 else []))
    return ArtifactError(
        f"{len(failed)} of {num_jobs} trainings failed; the others are kept. Each log.txt tells more.\n{text}\n"
        "Correct the cause, and give the same command again."
    )
