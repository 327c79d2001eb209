"""`--engine ray`: batches of texts are encoded on the machines of a Ray cluster; this process plans and writes.

Texts are tokenized and put into batches here, exactly as without Ray, so every vector comes out of the same batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from sightwords.cluster import Job, Placement, Workers
from sightwords.errors import ModelError
from sightwords.text.config import EmbedConfig
from sightwords.text.encode import Trial, encode_here, sample, try_bf16
from sightwords.text.encoders import Encoder, EncoderInfo, open_encoder
from sightwords.text.plan import Batch

_CHUNK_TOKENS = 32_768  # that travel together, more where a batch has more: half a second of a small encoder's work
_SAMPLE = 2048  # texts for the trial of a precision
_TRIAL = "trial"


class RayEncoders:
    """Encoders in the actors of a Ray cluster.

    Args:
        config: which encoder, and where the cluster is.
        info: who it must be, as this machine knows it.

    Attributes:
        device: where they compute: `cuda` or `cpu`.

    Raises:
        MissingExtraError: ray is not installed.
        ConfigError: GPUs are asked for and there are none.
        UnavailableError: the cluster cannot be reached.
    """

    def __init__(self, config: EmbedConfig, info: EncoderInfo) -> None:
        make = partial(make_job, identifier=config.encoder, info=info)
        device = config.device.partition(":")[0]
        self._workers = Workers(make, config.ray_address, config.ray_workers, device)
        self.device = self._workers.placement.device

    def close(self) -> None:
        """End them."""
        self._workers.close()

    def try_bf16(self, texts: Sequence[str]) -> Trial | None:
        """Return how exact and how fast bf16 is on a worker; None where there is nothing to try.

        Raises:
            ModelError: no worker could try it.
        """
        ((_, found),) = self._workers.run([(_TRIAL, sample(texts, _SAMPLE))], 1)
        if isinstance(found, ModelError):
            raise ModelError(f"The trial of bf16 failed: {found}. Choose with --precision.")
        return cast("Trial | None", found)

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
            if isinstance(found, ModelError):
                raise ModelError(f"A batch of {len(batch.pieces)} texts cannot be encoded: {found}.")
            yield batch, found


def make_job(placement: Placement, identifier: str, info: EncoderInfo) -> Job:
    """Return what encodes in a worker's process.

    Args:
        placement: the workers, and their device.
        identifier: the encoder's ID.
        info: which encoder it must be; device and precision may differ.

    Raises:
        SightwordsError: the encoder cannot be loaded, or is another one than where the run was started.
    """
    encoder = open_encoder(identifier, placement.device, "fp32")
    ours, other = ((one.revision, one.dimension, one.max_tokens) for one in (info, encoder.info))
    if ours != other:
        raise ModelError(
            f"{identifier} is not the same model here as where the run was started (revision "
            f"{encoder.info.revision} instead of {info.revision}). Copy the same files to all nodes."
        )
    return partial(_encode, {"fp32": encoder})


def _encode(
    encoders: dict[str, Encoder], items: Sequence[tuple[str, Any]], stopping: Callable[[], bool]
) -> Iterator[tuple[int, Any]]:
    """Yield (position, vectors of a batch), or what the trial of bf16 found."""
    precision, given = items[0]
    if precision == _TRIAL:
        yield 0, try_bf16(encoders["fp32"], given)
        return
    if precision not in encoders:
        encoders[precision] = encoders["fp32"].cast(precision)
    for position, (_, vectors) in enumerate(encode_here(encoders[precision], [batch for _, batch in items])):
        yield position, vectors
