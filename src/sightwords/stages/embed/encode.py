"""Distinct texts become vectors: long ones in pieces, pieces in batches of like length, pieces of a text pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightwords.errors import ModelError
from sightwords.progress import Progress
from sightwords.stages.embed.chunk import split_text
from sightwords.stages.embed.encoders import Encoder

_COUNTED = 2048  # texts whose tokens are counted at once


@dataclass(frozen=True)
class Encoded:
    """The vectors of R texts.

    Attributes:
        vectors: normalised, float16, shape (R, D).
        num_split: texts that were longer than the encoder's limit.
        num_pieces: pieces that were encoded; a text within the limit is one.
        num_tokens_total: tokens of all pieces, special ones included.
        num_tokens_cut: tokens beyond the encoder's limit.
    """

    vectors: np.ndarray
    num_split: int
    num_pieces: int
    num_tokens_total: int
    num_tokens_cut: int


@dataclass(frozen=True)
class Pieces:
    """Texts in pieces that fit the encoder.

    Attributes:
        texts: P pieces.
        owners: position of the text that each piece belongs to, int64, shape (P,).
        num_tokens: tokens of each piece, int64, shape (P,).
    """

    texts: list[str]
    owners: np.ndarray
    num_tokens: np.ndarray


def encode_texts(encoder: Encoder, texts: Sequence[str], batch_size: int, show: bool = True) -> Encoded:
    """Encode texts, each once.

    The vector of a text in pieces is the mean of the pieces' normalised vectors weighted by their numbers of tokens
    (special ones included), normalised again.

    Args:
        encoder: the frozen encoder.
        texts: R distinct texts.
        batch_size: pieces in a batch.
        show: whether to show progress.

    Raises:
        ModelError: the encoder returns a vector without a direction.
    """
    pieces = cut(encoder, texts)
    num_pieces = np.bincount(pieces.owners, minlength=len(texts))
    vectors = np.zeros((len(texts), encoder.info.dimension), np.float16)
    sums = {int(owner): np.zeros(encoder.info.dimension) for owner in np.flatnonzero(num_pieces > 1)}
    order = np.argsort(-pieces.num_tokens, kind="stable")  # the longest first: memory runs out at once or never
    with Progress("Embedding", len(order), "pieces of text" if sums else "texts", enabled=show) as progress:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            found = _normalised(encoder.encode([pieces.texts[i] for i in batch]))
            _place(found, pieces, batch, vectors, sums)
            progress.advance(len(batch))
    for owner, total in sums.items():
        vectors[owner] = _normalised(total[None])[0]
    limit = encoder.info.max_tokens
    num_cut = 0 if limit is None else int(np.maximum(pieces.num_tokens - limit, 0).sum())
    return Encoded(vectors, len(sums), len(order), int(pieces.num_tokens.sum()), num_cut)


def cut(encoder: Encoder, texts: Sequence[str]) -> Pieces:
    """Return texts in pieces that fit the encoder, in order."""
    limit = encoder.info.max_tokens
    pieces: list[str] = []
    owners: list[int] = []
    counts: list[int] = []
    for start in range(0, len(texts), _COUNTED):
        block = texts[start : start + _COUNTED]
        for owner, (text, count) in enumerate(zip(block, encoder.num_tokens(block), strict=True), start):
            parts = [text] if limit is None or count <= limit else split_text(text, limit, encoder.num_tokens)
            pieces += parts
            owners += [owner] * len(parts)
            counts += [count] if len(parts) == 1 else encoder.num_tokens(parts)
    return Pieces(pieces, np.array(owners, np.int64), np.array(counts, np.int64))


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


def _place(
    found: np.ndarray, pieces: Pieces, batch: np.ndarray, vectors: np.ndarray, sums: dict[int, np.ndarray]
) -> None:
    for vector, piece in zip(found, batch, strict=True):
        owner = int(pieces.owners[piece])
        if owner in sums:
            sums[owner] += vector * pieces.num_tokens[piece]
        else:
            vectors[owner] = vector


def _normalised(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1, float64, shape (N, D)."""
    precise = vectors.astype(np.float64)
    lengths = np.linalg.norm(precise, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ModelError(
            "The encoder returned a vector that is not finite, or zero. Its numbers may be too large for fp16: "
            "try --precision fp32."
        )
    return np.asarray(precise / lengths)
