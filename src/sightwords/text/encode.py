"""Batches of texts become vectors in this process, in the arithmetic that a trial found best."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from sightwords.errors import ModelError
from sightwords.text.encoders import Encoder, TokenEncoder, has_bf16
from sightwords.text.plan import BLOCK, Batch, BatchRule, plan_block

Engine = Callable[[Sequence[Batch]], Iterator[tuple[Batch, np.ndarray]]]
"""Encodes batches, wherever: yields each with its pieces' vectors, float32, shape (P, D), in any order."""

SMALLEST_COSINE = 0.999
_Input = TypeVar("_Input", str, np.ndarray)
_MOST_THREADS = 16  # more wait for Python's lock; beyond, each thread gets several cores
_AHEAD = 2  # batches that wait for each thread


def default_rule(encoder: Encoder, batch_size: int | None = None, device: str | None = None) -> BatchRule:
    """Return batches of a size that suits the encoder and its (or another) device, or of at most `batch_size` texts."""
    if batch_size is not None:
        return BatchRule(BLOCK, None, batch_size)
    unpadded = isinstance(encoder, TokenEncoder)
    if (device or encoder.info.device) == "cpu":
        return BatchRule(BLOCK, 1024 if unpadded else 2048, None)
    return BatchRule(BLOCK, 32_768 if unpadded else 16_384, None)


def plan_blocks(
    encoder: Encoder, texts: Sequence[str], blocks: Iterable[int], rule: BatchRule
) -> Generator[list[Batch]]:
    """Yield the batches of each of `blocks`, numbers; the next is tokenized while one is encoded, where safe."""
    if not isinstance(encoder, TokenEncoder):  # its one tokenizer may be at work
        yield from (plan_block(encoder, texts, block, rule) for block in blocks)
        return
    with ThreadPoolExecutor(1, "tokenize") as thread:
        waiting: deque[Future[list[Batch]]] = deque()
        for block in blocks:
            waiting.append(thread.submit(plan_block, encoder, texts, block, rule))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


def encode_here(encoder: Encoder, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield every batch with its pieces' vectors, float32, shape (P, D), in order.

    On the CPU several threads encode a batch each, with one core (above 16 cores: several) and no waiting for one
    another, which also makes the numbers independent of how many cores there are.

    Args:
        encoder: encodes all batches.
        batches: taken as they are needed.

    Raises:
        ModelError: the device's memory is too small for a single piece.
    """
    if not isinstance(encoder, TokenEncoder):
        yield from ((batch, _encode_batch(encoder, batch)) for batch in batches)
        return
    import torch

    num_threads, num_cores = 1, 0  # 0: a GPU does the work
    if encoder.info.device == "cpu":
        num_threads = min(torch.get_num_threads(), _MOST_THREADS)
        num_cores = torch.get_num_threads() // num_threads
    rest = iter(batches)
    waiting: deque[tuple[Batch, Future[np.ndarray]]] = deque()
    pool = ThreadPoolExecutor(num_threads, "embed", _set_cores, (num_cores,))
    try:
        while True:
            for batch in islice(rest, num_threads * (1 + _AHEAD) - len(waiting)):
                waiting.append((batch, pool.submit(_encode_batch, encoder, batch)))
            if not waiting:
                return
            batch, future = waiting.popleft()
            yield batch, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _set_cores(num_cores * num_threads)


def encode_texts(encoder: Encoder, texts: Sequence[str], batch_size: int | None = None) -> np.ndarray:
    """Return the vectors of texts, normalized, float16, shape (T, D), all in memory.

    Args:
        encoder: the frozen encoder.
        texts: T texts of any length.
        batch_size: most texts in a batch; None takes batches that suit the device.

    Raises:
        ModelError: the encoder returns a vector that is not finite, or zero.
    """
    rule = default_rule(encoder, batch_size)
    vectors = np.empty((len(texts), encoder.info.dimension), np.float16)
    for block in range(-(-len(texts) // rule.block)):
        for batch, found in encode_here(encoder, plan_block(encoder, texts, block, rule)):
            vectors[batch.rows] = batch.pooled(found)
    return vectors


def _encode_batch(encoder: Encoder, batch: Batch) -> np.ndarray:
    if isinstance(encoder, TokenEncoder) and batch.tokens is not None:
        return _halving(encoder.encode_tokens, batch.tokens)
    return _halving(encoder.encode, batch.pieces)


def _halving(encode: Callable[[Sequence[_Input]], np.ndarray], inputs: Sequence[_Input]) -> np.ndarray:
    """Return the vectors of the inputs, float32, shape (P, D); in halves where the device's memory runs out."""
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


def _set_cores(num_cores: int) -> None:
    """Give the calling thread, and threads that torch starts for it, a number of cores."""
    if num_cores:
        import torch

        torch.set_num_threads(num_cores)


@dataclass(frozen=True)
class Trial:
    """bf16 beside fp32 on a sample of the texts.

    Attributes:
        num_texts: size of the sample.
        smallest_cosine: between the vectors of a text in bf16 and fp32, over the sample.
        speedup: time in fp32 over time in bf16.
    """

    num_texts: int
    smallest_cosine: float
    speedup: float

    @property
    def passed(self) -> bool:
        """Whether bf16 is exact enough and faster."""
        return self.smallest_cosine >= SMALLEST_COSINE and self.speedup > 1


def try_bf16(encoder: Encoder, texts: Sequence[str]) -> Trial | None:
    """Return how exact and how fast bf16 is on some of the texts; None where there is nothing to try.

    Args:
        encoder: in fp32.
        texts: the distinct texts.
    """
    other = encoder.cast("bf16") if has_bf16(encoder.info.device) else encoder
    if other is encoder:
        return None
    spread = sample(texts, 64 if encoder.info.device == "cpu" else 2048)
    for used in (encoder, other):
        encode_texts(used, sample(texts, 8))  # warms up
    start_s = time.perf_counter()
    exact = encode_texts(encoder, spread).astype(np.float64)
    middle_s = time.perf_counter()
    near = encode_texts(other, spread).astype(np.float64)
    exact_s, near_s = middle_s - start_s, time.perf_counter() - middle_s
    cosines = (exact * near).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(near, axis=1)
    return Trial(len(spread), round(float(cosines.min()), 6), round(exact_s / near_s, 2))


def sample(texts: Sequence[str], size: int) -> list[str]:
    """Return texts evenly spread over all, at most `size`."""
    return [texts[i] for i in np.linspace(0, len(texts) - 1, min(size, len(texts))).astype(int)]
