"""`--engine ray`: any describer, on the machines of a Ray cluster; this process reads the images and writes the rows.

The images' bytes travel with the requests, so nodes need no access to the images; decoding them, which costs more, is
done where they are described.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from sightwords.cluster import Job, Placement, Workers, ray_library
from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describers import KEY_VARIABLES, make_describer
from sightwords.descriptions.describers.base import Answer, Describer, Request
from sightwords.descriptions.schema import DescriberInfo
from sightwords.errors import ModelError, UnreadableImageError

_DECODE_THREADS = 8


class RayDescriber:
    """Describes with describers in the actors of a Ray cluster.

    Args:
        config: what the describers are made from; `engine` is ignored.
        sees_images: whether they are shown images.

    Attributes:
        num_ahead: requests that should be waiting.
        notices: empty; Ray itself reports dead workers.

    Raises:
        MissingExtraError: ray, or the describer's library, is not installed.
        ConfigError: the configuration does not fit the describer.
    """

    def __init__(self, config: DescribeConfig, sees_images: bool = True) -> None:
        ray_library()
        self._config, self._sees_images = config, sees_images
        # the model is never loaded here, so this machine needs no GPU
        self._local = make_describer(replace(config, engine="local", device="cpu"), sees_images)
        self._waits = config.describer.startswith("server:")
        # servers are asked more at once the more they are given; local models get what they sort into batches together
        self._chunk_size = max(1, self._local.num_ahead // (1 if self._waits else 2))
        self.num_ahead = 2 * self._chunk_size
        self.notices: list[str] = []
        self._workers: Workers | None = None

    def info(self) -> DescriberInfo:
        """Return who is asked: the same as without Ray.

        Raises:
            ModelError: the model cannot be had.
        """
        return self._local.info()

    def prepare(self, data: bytes, name: str) -> bytes:
        """Return the bytes as they are."""
        return data

    def describe(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield answers as they arrive; the workers stay for the next call, until the end of this object.

        An image that a worker cannot decode is answered with `failed` and the reason `unreadable image: ...`.

        Raises:
            UnavailableError: the cluster cannot be reached, disappears or has no room; all that arrived was yielded.
            ModelError: a node cannot load or run the model; the message names it.
        """
        if self._workers is None:
            self._workers = self._start()
            weakref.finalize(self, self._workers.close)
        with closing(self._workers.run(requests, self._chunk_size, stopping)) as results:
            for request, result in results:
                if isinstance(result, ModelError):
                    yield Answer(request, "", "failed", str(result))
                else:
                    yield replace(result, request=request)

    def _start(self) -> Workers:
        config = self._config
        make = partial(make_job, config=config, sees_images=self._sees_images, info=self.info())
        device = config.device.partition(":")[0] if config.describer.startswith("hf:") else "cpu"
        secrets = (*KEY_VARIABLES, "HF_TOKEN")
        return Workers(
            make, config.ray_address, config.ray_workers, device, not self._waits, config.patience_s, secrets=secrets
        )


def make_job(placement: Placement, config: DescribeConfig, sees_images: bool, info: DescriberInfo) -> Job:
    """Return what describes in a worker's process, with its part of the requests that a server may get at once.

    Args:
        placement: the workers.
        config: the options of `describe`.
        sees_images: whether the describer is shown images.
        info: who it must be.

    Raises:
        SightwordsError: the describer cannot be made, or is another one than where the run was started.
    """
    device = "auto" if config.device.startswith("cuda") else config.device  # a worker sees one GPU, its own
    concurrency = -(-config.concurrency // placement.num_workers)
    describer = make_describer(replace(config, engine="local", device=device, concurrency=concurrency), sees_images)
    found = describer.info()
    if found != info:
        raise ModelError(
            f"{found.identifier} is not the same model here as where the run was started (revision "
            f"{found.revision or 'unknown'} instead of {info.revision or 'unknown'}). Copy the same files to all nodes."
        )
    return partial(_describe, describer, ThreadPoolExecutor(_DECODE_THREADS, "sightwords-decode"))


def _describe(
    describer: Describer, threads: ThreadPoolExecutor, items: Sequence[Request], stopping: Callable[[], bool]
) -> Iterator[tuple[int, Answer]]:
    """Yield (position, answer) without the request's image, which does not travel back."""
    requests: list[Request] = []
    places: dict[tuple[str, int], int] = {}
    for position, (item, image) in enumerate(zip(items, threads.map(partial(_prepare, describer), items), strict=True)):
        places[item.key, item.sample] = position
        if isinstance(image, UnreadableImageError):
            yield position, Answer(replace(item, image=None), "", "failed", f"unreadable image: {image.reason}")
        else:
            requests.append(replace(item, image=image))
    for answer in describer.describe(iter(requests), stopping) if requests else ():
        request = replace(answer.request, image=None)
        yield places[request.key, request.sample], replace(answer, request=request)


def _prepare(describer: Describer, item: Request) -> Any:
    try:
        return item.image and describer.prepare(item.image, item.name)
    except UnreadableImageError as error:
        return error
