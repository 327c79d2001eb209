"""Distinct texts become vectors: planned, encoded by an engine, kept in a store."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from sightwords.encoders import Encoder, TokenEncoder
from sightwords.progress import Progress
from sightwords.stages.embed.engine import Engine, LocalEngine, default_rule
from sightwords.stages.embed.plan import Batch, BatchRule, Block, Counts, block_rows, num_blocks, prepare_block
from sightwords.stages.embed.store import MemoryStore, Store


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
