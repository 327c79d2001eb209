"""The actors, seen from the driver: started, known by where they are, dismissed, replaced."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sightwords.cluster.connection import Cluster
from sightwords.cluster.placement import Placement
from sightwords.cluster.worker import Failure, Job, Place, Worker
from sightwords.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    ModelError,
    RefusedRequestError,
    SightwordsError,
    UnavailableError,
)

_MAX_START_DEATHS = 5  # workers that may die one after another before any of them was ready
# of our errors, those that are made from a message alone; the others come back as ModelError
_MADE_FROM_A_MESSAGE = (ConfigError, DataError, ArtifactError, ModelError, RefusedRequestError, UnavailableError)
_KINDS: dict[str, type[SightwordsError]] = {kind.__name__: kind for kind in _MADE_FROM_A_MESSAGE}


@dataclass(eq=False)
class Member:
    """A worker of the pool.

    Attributes:
        actor: Ray's handle.
        place: where it is; None while no node has room for it.
        is_ready: whether it has made its job.
        num_open: chunks that it has.
        is_alone: whether its chunk is one that a worker died of, so that it gets no other beside it.
    """

    actor: Any
    place: Place | None = None
    is_ready: bool = False
    num_open: int = 0
    is_alone: bool = False

    @property
    def node(self) -> str:
        """Name of its machine."""
        return self.place.node if self.place else "a node"


class WorkerPool:
    """Up to `placement.num_workers` actors that each hold a job.

    The job's maker is sent to each actor as the argument of a call, from process to process: it may hold secrets.
    Arguments of an actor's constructor and runtime environments would be kept and shown by Ray's head node.

    Args:
        cluster: where the actors run.
        make_job: makes the job in an actor's process; can be pickled.
        placement: how many actors, and what each takes.
        patience_s: time without a single placed worker after which `check` gives up, in seconds.

    Attributes:
        members: the workers.
        starts: calls in the making of workers: Ray's reference -> (`hello` or `start`, worker).
        notices: what the user should know, oldest first; only appended to.
        num_runs: runs over this pool so far.
    """

    def __init__(
        self, cluster: Cluster, make_job: Callable[[], Job], placement: Placement, patience_s: float = 300.0
    ) -> None:
        self.cluster, self.placement, self.patience_s = cluster, placement, patience_s
        self.members: list[Member] = []
        self.starts: dict[Any, tuple[str, Member]] = {}
        self.notices: list[str] = []
        self.num_runs = 0
        self._make_job = make_job
        self._ray = cluster.ray
        self._actor_class = self._ray.remote(Worker)
        self._num_start_deaths = 0
        self._waiting_since_s = time.monotonic()

    @property
    def is_full(self) -> bool:
        """Whether all workers that the pool may have are there or on their way."""
        return len(self.members) >= self.placement.num_workers

    def add(self) -> None:
        """Start one more worker."""
        if not self.members:
            self._waiting_since_s = time.monotonic()
        options = self._actor_class.options(
            num_cpus=self.placement.num_cpus,
            num_gpus=self.placement.num_gpus,
            max_concurrency=4,  # two chunks, and a call to stop or start beside them
            scheduling_strategy="SPREAD",
        )
        member = Member(options.remote())
        self.members.append(member)
        self.starts[member.actor.hello.remote()] = ("hello", member)

    def advance(self, reference: Any) -> None:
        """Take the answer to a call of `starts`, and make the next call.

        Raises:
            SightwordsError: the worker cannot make the job, or is of another version.
        """
        stage, member = self.starts.pop(reference)
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._start_failed(member, error)
            return
        if stage == "hello":
            member.place = answer
            if answer.version != version("sightwords"):
                raise ModelError(
                    f"{member.node} has sightwords {answer.version}, this machine {version('sightwords')}. "
                    "Install the same version on all nodes."
                )
            self.starts[member.actor.start.remote(self._make_job)] = ("start", member)
        elif isinstance(answer, Failure):
            raise raised(answer, member.node)
        else:
            member.is_ready = True
            self._num_start_deaths = 0

    def dismiss(self, member: Member) -> None:
        """End a worker; what it held is the caller's to hand out again."""
        if member in self.members:
            self.members.remove(member)
            self._ray.kill(member.actor)
        if not any(one.place for one in self.members):
            self._waiting_since_s = time.monotonic()

    def stop(self, run: int) -> None:
        """Tell all workers to begin nothing else of a run."""
        for member in self.members:
            member.actor.stop.remote(run)

    def check(self) -> None:
        """Notice a cluster that is gone, or that has no room.

        Raises:
            UnavailableError: it is so.
        """
        self.cluster.check()
        if not self.members or any(member.place for member in self.members):
            return
        if time.monotonic() - self._waiting_since_s >= self.patience_s:
            raise UnavailableError(
                f"No node of the Ray cluster had room for a worker for {self.patience_s:.0f} s; each needs "
                f"{self.placement}. See `ray status`, or ask for fewer with --ray-workers."
            )

    def close(self) -> None:
        """End all workers."""
        for member in self.members:
            self._ray.kill(member.actor)
        self.members.clear()
        self.starts.clear()

    def _start_failed(self, member: Member, error: Exception) -> None:
        if "error raised in its creation task" in str(error) or isinstance(error, self._ray.exceptions.RayTaskError):
            last_line = str(error).strip().splitlines()[-1]
            raise ModelError(
                f"A worker cannot start on {_address(error) or member.node}: {last_line}. Install sightwords with the "
                "same extras on all nodes of the Ray cluster."
            )
        self.dismiss(member)
        self._num_start_deaths += 1
        self.notices.append(f"A worker on {member.node} died while it started: {cause(error)}")
        if self._num_start_deaths >= max(_MAX_START_DEATHS, 2 * self.placement.num_workers):
            raise UnavailableError(
                f"{self._num_start_deaths} workers died one after another while they started; the last one on "
                f"{member.node}: {cause(error)}. Does the model fit into the memory of a node?"
            )
        self.cluster.check_own_node()


def raised(failure: Failure, node: str) -> SightwordsError:
    """Return the error to raise for what went wrong on a node."""
    return _KINDS.get(failure.kind, ModelError)(f"On {node}: {failure.message}")


def cause(error: Exception) -> str:
    """Return in a few words why Ray says that a worker died; it says a page."""
    text = " ".join(str(error).split())
    if "OUT_OF_MEMORY" in text or "running low on memory" in text:
        return "its node ran out of memory, and Ray ended it"
    for mark in ("The actor is dead because ", "The actor is temporarily unavailable: "):
        text = text.rpartition(mark)[2]
    return text.partition(". ")[0].rstrip(".")[:200]


def _address(error: Exception) -> str | None:
    found = re.search(r"\bip=([^\s,)]+)", str(error))
    return found.group(1) if found else None
