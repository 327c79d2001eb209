"""Does the jobs of a comparison, several at once, and shows how far all of them are."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from pathlib import Path

from sightwords.artifacts.run_folder import RunFolder
from sightwords.errors import ArtifactError, SightwordsError
from sightwords.progress import Progress
from sightwords.stages.compare.worker import Job, do, start_worker

POLL_S = 1.0
PRELOADED = ["sightwords.stages.train.run", "sightwords.stages.evaluate.run"]  # what a worker needs


def devices(asked: str, parallel: int) -> list[str]:
    """Return the device of each process: the GPUs in turn, or `asked` for all.

    Args:
        asked: --device.
        parallel: --parallel; 0 is one process for each GPU, or one.
    """
    if asked == "auto":
        import torch

        gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        return (
            (gpus or ["auto"]) if not parallel else [(gpus or ["auto"])[i % max(1, len(gpus))] for i in range(parallel)]
        )
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
