"""`--engine ray`: batches of texts are encoded on the machines of a Ray cluster; this process plans and writes.

Texts are tokenized and put into batches here, exactly as without Ray, so every vector comes out of the same batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from sightwords.cluster import Lost, Placement, Workers
from sightwords.errors import ModelError
from sightwords.text.config import EmbedConfig
from sightwords.text.encode import Trial, encode_here, sample, try_bf16
from sightwords.text.encoders import Encoder, EncoderInfo, TokenEncoder, open_encoder
from sightwords.text.plan import Batch

_CHUNK_TOKENS = 32_768  # that travel together, more where a batch has more: half a second of a small encoder's work
_SAMPLE = 2048  # texts for the trial of a precision
_TRIAL = "trial"


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
        maker = EncodeJobMaker(worker_identifier(config.encoder), os.environ.get("HF_TOKEN"), encoder.info)
        device = config.device.partition(":")[0]
        self._workers = Workers(maker, config.ray_address, config.ray_workers, device)
        info = replace(encoder.info, device=_device(self._workers.placement))
        self.encoder: Encoder = (_RemoteTokens if isinstance(encoder, TokenEncoder) else _Remote)(encoder, info)

    def __enter__(self) -> RayEncoders:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    def try_bf16(self, texts: Sequence[str]) -> Trial | None:
        """Return how exact and how fast bf16 is on a worker; None where there is nothing to try.

        Raises:
            ModelError: no worker could try it.
        """
        ((_, found),) = self._workers.run([(_TRIAL, sample(texts, _SAMPLE))], 1)
        if isinstance(found, Lost):
            raise ModelError(f"The trial of bf16 failed: {found.reason}. Choose with --precision.")
        (trial,) = found
        return cast("Trial | None", trial)

    def encode(self, precision: str, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield every batch with its pieces' vectors, float32, shape (P, D), as they arrive.

        Args:
            precision: the workers' arithmetic: `fp32`, `bf16` or `fp16`.
            batches: what to encode.

        Raises:
            UnavailableError: the cluster is gone or has no room, or all workers die; what had arrived was yielded.
            ModelError: a node cannot load the encoder, or several workers died of the same batch.
        """
        items = [(precision, batch) for batch in batches]
        largest = max((int(batch.num_tokens.sum()) for _, batch in items), default=1)
        for (_, batch), found in self._workers.run(items, max(1, _CHUNK_TOKENS // largest)):
            if isinstance(found, Lost):
                raise ModelError(f"A batch of {len(batch.pieces)} texts cannot be encoded: {found.reason}.")
            yield batch, found


@dataclass(frozen=True)
class EncodeJobMaker:
    """Makes a node's encoder.

    Attributes:
        identifier: its ID.
        token: of Hugging Face, which loading reads.
        info: which encoder it must be; device and precision may differ.
    """

    identifier: str
    token: str | None = field(repr=False)
    info: EncoderInfo

    def __call__(self, placement: Placement) -> EncodeJob:
        """Return the job.

        Raises:
            SightwordsError: the encoder cannot be loaded, or is another one than on the driver's machine.
        """
        if self.token:
            os.environ["HF_TOKEN"] = self.token
        encoder = open_encoder(self.identifier, _device(placement), "fp32")
        ours, other = ((info.revision, info.dimension, info.max_tokens) for info in (self.info, encoder.info))
        if ours != other:
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
        self._encoders = {encoder.info.precision: encoder}

    def run(self, items: Sequence[tuple[str, Any]], stopping: Callable[[], bool]) -> Iterator[tuple[int, Any]]:
        """Yield (position, vectors of a batch), or (0, what the trial of bf16 found, in a list)."""
        precision, given = items[0]
        if precision == _TRIAL:
            yield 0, [try_bf16(self._encoders["fp32"], given)]
            return
        if precision not in self._encoders:
            self._encoders[precision] = self._encoders["fp32"].cast(precision)
        for position, (_, vectors) in enumerate(encode_here(self._encoders[precision], [batch for _, batch in items])):
            yield position, vectors


@dataclass(frozen=True)
class _Remote:
    """Stands for the workers' encoders: tokenizes with the one of this machine, and never encodes."""

    local: Any
    info: EncoderInfo

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        found: list[int] = self.local.num_tokens(texts)
        return found

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError("the workers encode")

    def cast(self, precision: str) -> Encoder:
        return replace(self, info=replace(self.info, precision=precision))


class _RemoteTokens(_Remote):
    """The same for encoders that take tokens."""

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        found: list[np.ndarray] = self.local.tokenize(texts)
        return found

    def encode_tokens(self, tokens: Sequence[np.ndarray]) -> np.ndarray:
        raise NotImplementedError("the workers encode")


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


def _device(placement: Placement) -> str:
    return "cuda" if placement.num_gpus else "cpu"
