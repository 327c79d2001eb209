"""Does the jobs of a comparison, several at once, and shows how far all of them are."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sightwords
from sightwords.errors import ArtifactError, SightwordsError
from sightwords.files import write_text
from sightwords.models.run_folder import RunFolder
from sightwords.progress import Progress

if TYPE_CHECKING:
    from multiprocessing import Queue

FINISHED = "finished.json"
POLL_S = 1.0
PRELOADED = ["sightwords.training.run", "sightwords.evaluation.evaluate"]  # what a worker needs
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


def devices(asked: str, parallel: int) -> list[str]:
    """Return the device of each process: the GPUs in turn, or `asked` for all.

    Args:
        asked: --device.
        parallel: --parallel; 0 is one process for each GPU, or one.
    """
    if asked == "auto":
        import torch

        found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["auto"]
        return [found[number % len(found)] for number in range(parallel or len(found))]
    return [asked] * max(1, parallel)


def do_all(jobs: Sequence[Job], places: Sequence[str], title: str = "Comparing") -> None:
    """Do every job that is not finished.

    A job that fails does not keep the others from being done; the error names all that failed.

    Raises:
        SightwordsError: jobs failed, or a process was killed.
    """
    open_jobs = [job for job in jobs if not job.is_finished]
    total = sum(job.train.epochs for job in jobs)
    done = total - sum(job.train.epochs for job in open_jobs)
    failed: dict[Path, BaseException] = {}
    with Progress(title, total, "epochs", done) as progress, _pool(places) as pool:
        futures = {pool.submit(do, job): job for job in open_jobs}
        try:
            _watch(futures, done, len(places), progress, failed)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    if failed:
        raise _error(failed, len(jobs))


def _pool(places: Sequence[str]) -> ProcessPoolExecutor:
    context = _context()
    queue = context.Queue()
    for place in places:
        queue.put(place)
    num_threads = max(1, (os.cpu_count() or 1) // len(places))
    return ProcessPoolExecutor(len(places), context, start_worker, (queue, num_threads, dict(os.environ)))


def _context() -> BaseContext:
    """Return how processes start: not as copies of this one, since CUDA cannot be used after a fork.

    On Linux they are copies of a process that has imported everything and touched no device.
    """
    if sys.platform != "linux":  # its libraries cannot be forked everywhere
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _watch(
    futures: dict[Future[None], Job],
    before: int,
    num_processes: int,
    progress: Progress,
    failed: dict[Path, BaseException],
) -> None:
    waiting = set(futures)
    while waiting:
        finished, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
        for future in finished:
            if (error := future.exception()) is not None:
                failed[futures[future].folder] = error
        epochs = before + sum(_num_epochs(job) for job in futures.values())
        # in order of submission; the pool calls one more running than it has processes
        running = [job.folder for future, job in futures.items() if future in waiting and future.running()]
        ready = sum(job.is_finished for job in futures.values())
        now = ", ".join("/".join(folder.parts[-4:]) for folder in running[:num_processes])
        progress.advance(max(0, epochs - progress.done), f"{ready} of {len(futures)} trainings; now {now}")


def _num_epochs(job: Job) -> int:
    """Return how many epochs of a job are done; of one that stopped early, all."""
    if job.is_finished:
        return job.train.epochs
    records = RunFolder(job.folder).metrics()
    return min(job.train.epochs, int(records[-1]["epoch"])) if records else 0


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
