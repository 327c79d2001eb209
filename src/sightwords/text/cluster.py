"""`--engine ray`: batches of texts are encoded on the machines of a Ray cluster; this process plans and writes.

Texts are tokenized and put into batches here, exactly as without Ray, so every vector comes out of the same batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np

from sightwords.cluster import Cluster, Dispatch, Lost, WorkerPool
from sightwords.cluster.placement import gpu_of
from sightwords.errors import ModelError
from sightwords.text.config import EmbedConfig
from sightwords.text.encode import Trial, encode_here, sample, try_bf16
from sightwords.text.encoders import Encoder, EncoderInfo, TokenEncoder, open_encoder
from sightwords.text.plan import Batch

_CHUNK_TOKENS = 32_768  # that travel together, more where a batch has more: half a second of a small encoder's work
_SAMPLE = 2048  # texts for the trial of a precision
_VARIABLES = ("HF_TOKEN",)


class RayEncoders:
    """Encoders in the actors of a Ray cluster; use it in a `with` block.

    Args:
        config: which encoder, and where the cluster is.
        encoder: the same encoder on this machine.

    Attributes:
        encoder: stands for those of the workers: tokenizes here, says what they are, and can be cast.

    Raises:
        MissingExtraError: ray is not installed.
        ConfigError: GPUs are asked for and there are none.
        UnavailableError: the cluster cannot be reached.
    """

    def __init__(self, config: EmbedConfig, encoder: Encoder) -> None:
        self._cluster = Cluster(config.ray_address)
        try:
            placement = self._cluster.place(config.ray_workers, gpu_of(config.device))
            device = "cuda" if placement.num_gpus else "cpu"
            keys = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
            maker = EncodeJobMaker(worker_identifier(config.encoder), device, keys, encoder.info)
            self._pool = WorkerPool(self._cluster, maker, placement)
        except BaseException:
            self._cluster.close()
            raise
        self.encoder = remote(encoder, replace(encoder.info, device=device))

    def __enter__(self) -> RayEncoders:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()
        self._cluster.close()

    def try_bf16(self, texts: Sequence[str]) -> Trial | None:
        """Return how exact and how fast bf16 is on a worker; None where there is nothing to try.

        Raises:
            ModelError: no worker could try it.
        """
        trial = _Trial(sample(texts, _SAMPLE))
        ((_, found),) = Dispatch(self._pool, 1, lambda item: 0).run([trial])
        if isinstance(found, Lost):
            raise ModelError(f"The trial of bf16 failed: {found.reason}. Choose with --precision.")
        return cast("Trial | None", found)

    def engine(self, precision: str) -> RayEngine:
        """Return who encodes with this arithmetic: `fp32`, `bf16` or `fp16`."""
        return RayEngine(self._pool, precision)


class RayEngine:
    """Has batches encoded by the workers of a pool.

    Args:
        pool: the workers.
        precision: their arithmetic.
    """

    def __init__(self, pool: WorkerPool, precision: str) -> None:
        self._pool, self._precision = pool, precision

    @property
    def notices(self) -> list[str]:
        """What the user should know about dead workers, oldest first."""
        return self._pool.notices

    def encode(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield every batch with its pieces' vectors, float32, shape (P, D), as they arrive.

        Raises:
            UnavailableError: the cluster is gone or has no room, or all workers die; what had arrived was yielded.
            ModelError: a node cannot load the encoder, or several workers died of the same batch.
        """
        items = [_Work(self._precision, batch) for batch in batches]
        largest = max((int(item.batch.num_tokens.sum()) for item in items), default=1)
        dispatch = Dispatch(self._pool, max(1, _CHUNK_TOKENS // largest), lambda item: _num_bytes(item.batch))
        for item, found in dispatch.run(items):
            if isinstance(found, Lost):
                raise ModelError(f"A batch of {len(item.batch.pieces)} texts cannot be encoded: {found.reason}.")
            yield item.batch, found


@dataclass(frozen=True, eq=False)
class _Work:
    """A batch, and the arithmetic to encode it with."""

    precision: str
    batch: Batch


@dataclass(frozen=True, eq=False)
class _Trial:
    """Texts on which bf16 is to be tried."""

    texts: list[str]


@dataclass(frozen=True)
class EncodeJobMaker:
    """Makes a node's encoder.

    Attributes:
        identifier: its ID.
        device: `cpu` or `cuda`.
        keys: environment variables that loading reads.
        info: which encoder it must be; device and precision may differ.
    """

    identifier: str
    device: str
    keys: Mapping[str, str] = field(repr=False)
    info: EncoderInfo

    def __call__(self) -> EncodeJob:
        """Return the job.

        Raises:
            SightwordsError: the encoder cannot be loaded, or is another one than on the driver's machine.
        """
        os.environ.update(self.keys)
        encoder = open_encoder(self.identifier, self.device, "fp32")
        if _is(encoder.info) != _is(self.info):
            raise ModelError(
                f"{self.identifier} is not the same model here as where the run was started (revision "
                f"{encoder.info.revision} instead of {self.info.revision}). Copy the same files to all nodes."
            )
        return EncodeJob(encoder)


class EncodeJob:
    """Encodes chunks of batches in an actor's process.

    Args:
        encoder: in fp32.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._encoders: dict[str, Encoder] = {encoder.info.precision: encoder}
        self._lock = Lock()
        # one whose threads take tokens works on two chunks at once without waiting at the end of the first
        self._turn: AbstractContextManager[Any] = nullcontext() if isinstance(encoder, TokenEncoder) else Lock()

    def run(self, items: Sequence[Any], stopping: Callable[[], bool]) -> Iterator[tuple[int, Any]]:
        """Yield (position, vectors of a batch) or (position, the precision that a trial found)."""
        with self._turn:
            for position, item in enumerate(items):
                if isinstance(item, _Trial):
                    yield position, try_bf16(self._encoder, item.texts)
            places = [position for position, item in enumerate(items) if isinstance(item, _Work)]
            for precision in sorted({items[place].precision for place in places}):
                mine = [place for place in places if items[place].precision == precision]
                found = encode_here(self._encoder_of(precision), (items[place].batch for place in mine))
                for place, (_, vectors) in zip(mine, found, strict=True):
                    yield place, vectors

    def _encoder_of(self, precision: str) -> Encoder:
        with self._lock:
            if precision not in self._encoders:
                self._encoders[precision] = self._encoder.cast(precision)
            return self._encoders[precision]


class RemoteEncoder:
    """Stands for the workers' encoders: tokenizes with the one of this machine, and never encodes.

    Args:
        local: the encoder of this machine.
        info: what the workers' encoders are.
    """

    def __init__(self, local: Encoder, info: EncoderInfo) -> None:
        self._local, self._info = local, info

    @property
    def info(self) -> EncoderInfo:
        """Which encoder the workers have."""
        return self._info

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the network sees of each text if nothing is cut, special ones included."""
        return self._local.num_tokens(texts)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Refuse: only batches travel."""
        raise NotImplementedError("the workers encode")

    def cast(self, precision: str) -> Encoder:
        """Return what stands for the same encoders with other arithmetic."""
        return remote(self._local, replace(self._info, precision=precision))


class RemoteTokenEncoder(RemoteEncoder):
    """The same for encoders that take tokens."""

    _local: TokenEncoder

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of each text as the network sees them, int32, special ones included, nothing cut."""
        return self._local.tokenize(texts)

    def encode_tokens(self, tokens: Sequence[np.ndarray]) -> np.ndarray:
        """Refuse: only batches travel."""
        raise NotImplementedError("the workers encode")


def remote(local: Encoder, info: EncoderInfo) -> Encoder:
    """Return what stands for the workers' encoders; it takes tokens where theirs do."""
    return (RemoteTokenEncoder if isinstance(local, TokenEncoder) else RemoteEncoder)(local, info)


def worker_identifier(identifier: str) -> str:
    """Return an encoder's ID with a local folder or file by its full path."""
    kind, _, name = identifier.partition(":")
    head, separator, path = "", "", name
    if kind == "openclip":
        head, separator, path = name.partition(":" if name.startswith("local-dir:") else "/")
    found = Path(path).expanduser()
    if kind == "builtin" or not path or not found.exists():
        return identifier
    return f"{kind}:{head}{separator}{found.resolve()}"


def _is(info: EncoderInfo) -> tuple[Any, ...]:
    return info.revision, info.dimension, info.max_tokens


def _num_bytes(batch: Batch) -> int:
    return 4 * int(batch.num_tokens.sum()) + sum(map(len, batch.pieces)) + 200
