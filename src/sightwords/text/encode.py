"""Distinct texts become vectors: planned, encoded by an engine, kept in a store."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np

from sightwords.errors import ModelError
from sightwords.progress import Progress
from sightwords.text.encoders import Encoder, TokenEncoder
from sightwords.text.journal import MemoryStore, Store
from sightwords.text.plan import Batch, BatchRule, Block, Counts, block_rows, num_blocks, prepare_block

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


@dataclass(frozen=True)
class Encoded:
    """The vectors of R texts.

    Attributes:
        vectors: normalized, float16, shape (R, D).
        counts: what became of the texts.
    """

    vectors: np.ndarray
    counts: Counts


def encode_texts(
    encoder: Encoder,
    texts: Sequence[str],
    batch_size: int | None = None,
    show: bool = True,
    store: Store | None = None,
    engine: Engine | None = None,
) -> Encoded:
    """Encode texts, each once; what a store has already is not encoded again.

    Args:
        encoder: the frozen encoder.
        texts: R distinct texts.
        batch_size: most texts in a batch; None takes batches that suit the device.
        show: whether to show progress.
        store: where the vectors go; None keeps them in memory.
        engine: who encodes the batches; None is this process.

    Raises:
        ModelError: the encoder returns a vector without a direction.
        ArtifactError: the disk is full.
    """
    rule = default_rule(encoder, batch_size)
    store = store or MemoryStore(len(texts), encoder.info.dimension)
    if engine is not None:
        counts = _encode(encoder, texts, rule, store, engine, show)
    else:
        with LocalEngine(encoder) as local:
            counts = _encode(encoder, texts, rule, store, local, show)
    return Encoded(store.vectors, counts)


def mean_vector(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the mean over descriptions, float32, shape (D,).

    Args:
        vectors: shape (R, D).
        rows: row of each description's vector, shape (N,); a text that occurs twice counts twice.
    """
    shares = np.bincount(rows, minlength=len(vectors)) / len(rows)
    mean = np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), 4096):
        mean += shares[start : start + 4096] @ vectors[start : start + 4096].astype(np.float64)
    return mean.astype(np.float32)


def _encode(
    encoder: Encoder, texts: Sequence[str], rule: BatchRule, store: Store, engine: Engine, show: bool
) -> Counts:
    blocks = range(num_blocks(len(texts), rule))
    counts = {number: known for number in blocks if (known := store.block(number)) is not None}
    missing = [number for number in blocks if number not in counts]
    with closing(_blocks(encoder, texts, missing, rule)) as prepared:
        first = list(itertools.islice(prepared, 1))  # the one that may be begun: the rate must not count what is here
        here = sum(_num_characters(texts, block_rows(number, len(texts), rule)) for number in counts)
        here += sum(_in_batch(texts, batch) for block in first for batch in block.batches if _has(store, block, batch))
        total = _num_characters(texts, slice(None))
        with Progress("Embedding", total, "characters", here, enabled=show) as progress:
            for block in itertools.chain(first, prepared):
                wanted = [batch for batch in block.batches if not _has(store, block, batch)]
                for batch, found in engine.encode(wanted):
                    store.put(block.number, batch.number, batch.owners, batch.pooled(found))
                    progress.advance(_in_batch(texts, batch), f"{len(texts)} texts")
                store.finish(block.number, block.counts)
                counts[block.number] = block.counts
    return sum(counts.values(), Counts())


def _has(store: Store, block: Block, batch: Batch) -> bool:
    return store.has(block.number, batch.number, batch.owners)


def _num_characters(texts: Sequence[str], rows: slice) -> int:
    """Return the length of texts, which time goes with: long texts come first, so their number would mislead."""
    return sum(map(len, itertools.islice(texts, *rows.indices(len(texts)))))


def _in_batch(texts: Sequence[str], batch: Batch) -> int:
    return sum(len(texts[owner]) for owner in batch.owners)


def _blocks(encoder: Encoder, texts: Sequence[str], numbers: list[int], rule: BatchRule) -> Generator[Block]:
    """Yield the blocks; the next one is tokenized meanwhile where nobody else needs the tokenizer."""
    if not isinstance(encoder, TokenEncoder):
        yield from (prepare_block(encoder, texts, number, rule) for number in numbers)
        return
    with ThreadPoolExecutor(1, "tokenize") as thread:
        futures = (thread.submit(prepare_block, encoder, texts, number, rule) for number in numbers)
        ahead = list(itertools.islice(futures, 1))
        while ahead:
            block = ahead.pop().result()
            ahead += itertools.islice(futures, 1)
            yield block
