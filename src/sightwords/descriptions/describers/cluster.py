"""`--engine ray`: any describer, on the machines of a Ray cluster; this process reads the images and writes the rows.

The images' bytes travel with the requests, so nodes need no access to the images; decoding them, which is the dearer
part, is done where they are described.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from threading import Lock
from typing import Any

from sightwords.cluster import Cluster, Dispatch, Lost, WorkerPool
from sightwords.cluster.connection import ray_library
from sightwords.cluster.placement import Gpu, gpu_of
from sightwords.cluster.worker import NOTICE
from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describers import KEY_VARIABLES, make_describer
from sightwords.descriptions.describers.base import Answer, Describer, Request
from sightwords.descriptions.schema import DescriberInfo
from sightwords.errors import ModelError, UnreadableImageError
from sightwords.images.decode import MAX_BYTES

# what describers read from the environment beside their configuration
_VARIABLES = (*KEY_VARIABLES, "HF_TOKEN")
_ANSWER_FIELDS = tuple(entry.name for entry in fields(Answer) if entry.name != "request")
_DECODE_THREADS = 8


class RayDescriber:
    """Describes with describers in the actors of a Ray cluster.

    Args:
        config: what the describers are made from; `engine` is ignored.
        sees_images: whether they are shown images.

    Attributes:
        num_ahead: requests that should be waiting.
        notices: what the user should know (a worker died, a node's own notices), oldest first; only appended to.

    Raises:
        MissingExtraError: ray, or the describer's library, is not installed.
        ConfigError: the configuration does not fit the describer.
    """

    def __init__(self, config: DescribeConfig, sees_images: bool = True) -> None:
        ray_library()
        self.config, self.sees_images = config, sees_images
        # the model is never loaded here, so this machine needs no GPU
        self._local = make_describer(replace(config, engine="local", device="cpu"), sees_images)
        # servers are asked more at once the more they are given; local models get what they sort into batches together
        self._chunk_size = max(1, self._local.num_ahead // (1 if self._waits else 2))
        self.num_ahead = 2 * self._chunk_size
        self.notices: list[str] = []
        self._info: DescriberInfo | None = None
        self._workers: tuple[Dispatch, weakref.finalize[Any, Any]] | None = None

    def info(self) -> DescriberInfo:
        """Return who is asked: the same as without Ray.

        Raises:
            ModelError: the model cannot be had.
        """
        if self._info is None:
            self._info = self._local.info()
        return self._info

    def prepare(self, data: bytes, name: str) -> bytes:
        """Return the bytes as they are.

        Raises:
            UnreadableImageError: they are more than any describer takes.
        """
        if len(data) > MAX_BYTES:
            raise UnreadableImageError(name, f"{len(data):,} bytes; at most {MAX_BYTES:,} are allowed")
        return data

    def describe(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield answers as they arrive; the workers stay for the next call, until `close` or the end of this object.

        An image that a worker cannot decode is answered with `failed` and the reason `unreadable image: ...`.

        Raises:
            UnavailableError: the cluster cannot be reached, disappears or has no room; all that arrived was yielded.
            ModelError: a node cannot load or run the model; the message names it.
        """
        try:
            with closing(self._dispatch().run(requests, stopping)) as results:
                for request, result in results:
                    yield answer_of(request, result)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the workers, and the cluster where it was started for them."""
        if self._workers is not None:
            self._workers[1]()
            self._workers = None

    @property
    def _waits(self) -> bool:
        return self.config.describer.startswith("server:")

    def _dispatch(self) -> Dispatch:
        if self._workers is None:
            info = self.info()
            cluster = Cluster(self.config.ray_address)
            try:
                placement = cluster.place(self.config.ray_workers, *self._needs())
                config = worker_config(self.config, placement.num_workers)
                make_job = DescribeJobMaker(config, self.sees_images, keys_of(os.environ), info)
                pool = WorkerPool(cluster, make_job, placement, self.config.patience_s)
                pool.notices = self.notices
            except BaseException:
                cluster.close()
                raise
            self._workers = Dispatch(pool, self._chunk_size, _size), weakref.finalize(self, _end, pool, cluster)
        return self._workers[0]

    def _needs(self) -> tuple[Gpu, bool]:
        """Return whether workers use GPUs, and whether they compute at all."""
        if not self.config.describer.startswith("hf:"):
            return "never", not self._waits
        return gpu_of(self.config.device), True


@dataclass(frozen=True)
class DescribeJobMaker:
    """Makes a node's describer; shows no secret in its `repr`.

    Attributes:
        config: the describer's options; its ID may hold a password.
        sees_images: whether it is shown images.
        keys: environment variables that describers read.
        info: who it must be.
    """

    config: DescribeConfig = field(repr=False)
    sees_images: bool
    keys: Mapping[str, str] = field(repr=False)
    info: DescriberInfo

    def __call__(self) -> DescribeJob:
        """Return the job.

        Raises:
            SightwordsError: the describer cannot be made, or is another one than on the driver's machine.
        """
        os.environ.update(self.keys)
        describer = make_describer(self.config, self.sees_images)
        found = describer.info()
        if found != self.info:
            raise ModelError(
                f"{found.identifier} is not the same model here as where the run was started (revision "
                f"{found.revision or 'unknown'} instead of {self.info.revision or 'unknown'}). Copy the same files to "
                "all nodes."
            )
        return DescribeJob(describer)


class DescribeJob:
    """Prepares and describes chunks of requests in an actor's process."""

    def __init__(self, describer: Describer) -> None:
        self._describer = describer
        self._lock = Lock()
        self._num_told = 0
        self._threads = ThreadPoolExecutor(_DECODE_THREADS, "sightwords-decode")

    def run(self, items: Sequence[Request], stopping: Callable[[], bool]) -> Iterator[tuple[int, Any]]:
        """Yield (position, the answer's fields without its request): pictures do not travel back."""
        pictures = self._pictures(items)
        unreadable = [picture if isinstance(picture, UnreadableImageError) else None for picture in pictures]
        for position, error in enumerate(unreadable):
            if error is not None:
                yield position, {"text": "", "status": "failed", "reason": f"unreadable image: {error.reason}"}
        places = {_identity(item): position for position, item in enumerate(items)}
        requests = [
            replace(item, picture=picture)
            for item, picture, error in zip(items, pictures, unreadable, strict=True)
            if error is None
        ]
        with self._lock:  # the next chunk's pictures are decoded meanwhile
            for answer in self._describer.describe(iter(requests), stopping) if requests else ():
                while self._num_told < len(self._describer.notices):
                    yield NOTICE, self._describer.notices[self._num_told]
                    self._num_told += 1
                yield places[_identity(answer.request)], {name: getattr(answer, name) for name in _ANSWER_FIELDS}

    def _pictures(self, items: Sequence[Request]) -> list[Any]:
        """Return what the describer makes of each request's bytes; several requests for one image share it."""
        distinct = {item.key: item for item in items}
        made = {key: self._threads.submit(self._prepare, item) for key, item in distinct.items()}
        return [made[item.key].result() for item in items]

    def _prepare(self, item: Request) -> Any:
        if item.picture is None:
            return None
        try:
            return self._describer.prepare(item.picture, item.name)
        except UnreadableImageError as error:
            return error


def answer_of(request: Request, result: Any) -> Answer:
    """Return the answer to a request, from what a worker sent or the reason why there is nothing."""
    if isinstance(result, Lost):
        return Answer(request, "", "failed", result.reason)
    return Answer(request, **result)


def worker_config(config: DescribeConfig, num_workers: int) -> DescribeConfig:
    """Return the configuration of a node's describer.

    It takes its own GPU, finds a model's folder by its full path, and has its share of the requests that a server may
    get at once.
    """
    kind, _, rest = config.describer.partition(":")
    folder = Path(rest).expanduser()
    describer = f"hf:{folder.resolve()}" if kind == "hf" and folder.is_dir() else config.describer
    device = "auto" if config.device.startswith("cuda") else config.device
    concurrency = -(-config.concurrency // num_workers)
    return replace(config, engine="local", device=device, describer=describer, concurrency=concurrency)


def keys_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that describers need on the nodes too."""
    return {name: environ[name] for name in _VARIABLES if environ.get(name)}


def _identity(request: Request) -> tuple[str, int, int]:
    return request.key, request.sample, request.attempt


def _size(request: Request) -> int:
    return 500 + len(request.text) + len(request.picture or b"")


def _end(pool: WorkerPool, cluster: Cluster) -> None:
    pool.close()
    cluster.close()
