"""Who encodes a batch: threads of this process, each with a share of the processor's cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np

from sightwords.encoders import Encoder, TokenEncoder
from sightwords.errors import ModelError
from sightwords.stages.embed.plan import Batch, BatchRule

_Input = TypeVar("_Input", str, np.ndarray)
_MOST_THREADS = 16  # more wait for Python's lock; beyond, each thread gets several cores
_AHEAD = 2  # batches that wait for each thread

CPU_TOKENS = 1024
CPU_PADDED_TOKENS = 2048
GPU_TOKENS = 32_768
GPU_PADDED_TOKENS = 16_384
_CPU_BLOCK, _GPU_BLOCK = 16_384, 131_072


class Engine(Protocol):
    """Encodes batches, wherever."""

    def encode(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield every batch with its pieces' vectors, float32, shape (P, D), of any length; in any order."""


def default_rule(encoder: Encoder, batch_size: int | None = None) -> BatchRule:
    """Return batches of a size that suits the encoder and its device, or of at most `batch_size` texts."""
    on_cpu, packed = encoder.info.device == "cpu", isinstance(encoder, TokenEncoder)
    block = _CPU_BLOCK if on_cpu else _GPU_BLOCK
    if batch_size is not None:
        return BatchRule(block, None, batch_size)
    sizes = (CPU_PADDED_TOKENS, CPU_TOKENS) if on_cpu else (GPU_PADDED_TOKENS, GPU_TOKENS)
    return BatchRule(block, sizes[packed], None)


class LocalEngine:
    """This process; use it in a `with` block.

    On the CPU several threads encode a batch each, with one core (above 16 cores: several) and no waiting for one
    another, which also makes the numbers independent of how many cores there are.

    Args:
        encoder: encodes all batches.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._num_threads, self._num_cores = 1, 0
        if isinstance(encoder, TokenEncoder):
            self._num_threads, self._num_cores = _shares(encoder.info.device)
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> LocalEngine:
        if isinstance(self._encoder, TokenEncoder):
            self._pool = ThreadPoolExecutor(self._num_threads, "embed", _set_cores, (self._num_cores,))
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            _set_cores(self._num_cores and self._num_cores * self._num_threads)

    def encode(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield every batch with its pieces' vectors, in order."""
        if self._pool is None:
            yield from ((batch, encode_batch(self._encoder, batch)) for batch in batches)
            return
        rest = iter(batches)
        waiting: deque[tuple[Batch, Future[np.ndarray]]] = deque()
        for batch in islice(rest, self._num_threads * (1 + _AHEAD)):
            waiting.append((batch, self._pool.submit(encode_batch, self._encoder, batch)))
        while waiting:
            batch, future = waiting.popleft()
            found = future.result()
            for following in islice(rest, 1):
                waiting.append((following, self._pool.submit(encode_batch, self._encoder, following)))
            yield batch, found


def encode_batch(encoder: Encoder, batch: Batch) -> np.ndarray:
    """Return the vectors of a batch's pieces, float32, shape (P, D); halved where the device's memory runs out.

    Raises:
        ModelError: the memory is too small for a single piece.
    """
    if isinstance(encoder, TokenEncoder) and batch.tokens is not None:
        return _halving(encoder.encode_tokens, batch.tokens)
    return _halving(encoder.encode, batch.pieces)


def _halving(encode: Callable[[Sequence[_Input]], np.ndarray], inputs: Sequence[_Input]) -> np.ndarray:
    import torch

    try:
        return encode(inputs)
    except torch.OutOfMemoryError:
        if len(inputs) == 1:
            raise ModelError(
                "The device has too little memory for one text. Use --device cpu, or a smaller encoder."
            ) from None
    torch.cuda.empty_cache()
    half = len(inputs) // 2
    return np.concatenate([_halving(encode, inputs[:half]), _halving(encode, inputs[half:])])


def _shares(device: str) -> tuple[int, int]:
    """Return how many threads encode, and how many cores each has; 0 cores where a GPU does the work."""
    if device != "cpu":
        return 1, 0
    import torch

    total = torch.get_num_threads()
    num_threads = min(total, _MOST_THREADS)
    return num_threads, total // num_threads


def _set_cores(num_cores: int) -> None:
    """Give the calling thread, and threads that torch starts for it, a number of cores."""
    if num_cores:
        import torch

        torch.set_num_threads(num_cores)
