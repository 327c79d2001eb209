"""Which texts are encoded together: blocks that are tokenized at once, and batches of similar length within them.

The plan is a function of the texts, the encoder's tokens and a `BatchRule` alone. So a run that was interrupted forms
the same batches again, and it does not matter who encodes them. Shapes: T texts, P pieces, D the vectors' width.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sightwords.errors import ModelError
from sightwords.text.encoders import Encoder, TokenEncoder

BLOCK = 16_384  # texts
_CLOSING = r"\"')\]\u2019\u201d\u00bb"  # quotes and brackets that may close a sentence behind its full stop
_CLOSING_WIDE = r"\u2019\u201d\u300d\u300f\uff09"
# what ends a unit; none looks ahead without bounds, since a describer in a loop may write 100,000 full stops
_ENDS = (
    # sentences: . ! ? and the ellipsis with white space behind them, their wide forms, line ends
    re.compile(rf"(?:(?<=[.!?\u2026])|(?<=[.!?\u2026][{_CLOSING}]))\s+|[\u3002\uff01\uff1f][{_CLOSING_WIDE}]*|\n\s*"),
    # clauses: , ; : and dashes with white space behind them, and their wide forms
    re.compile(r"(?<=[,;:\u2013\u2014])\s+|[\uff0c\u3001\uff1b\uff1a]"),
    # words
    re.compile(r"\s+"),
    # characters
    re.compile(r"(?<=.)", re.DOTALL),
)


def split_text(text: str, max_tokens: int, num_tokens: Callable[[Sequence[str]], list[int]]) -> list[str]:
    """Return the pieces of a text, in order, each of at most `max_tokens` tokens; one piece where the text fits.

    Args:
        text: any text.
        max_tokens: the encoder's limit, special tokens included.
        num_tokens: counts the tokens of texts as the encoder does.

    Raises:
        ModelError: a single character has more tokens than the limit.
    """
    if num_tokens([text])[0] <= max_tokens:
        return [text]
    num_special = num_tokens([""])[0]
    units, sizes = _units(text, max_tokens, num_tokens)
    groups, total = [[""]], num_special
    for unit, size in zip(units, (max(size - num_special, 0) for size in sizes), strict=True):
        if total + size > max_tokens:
            groups.append([])
            total = num_special
        groups[-1].append(unit)
        total += size
    return [piece for piece in _fitting(groups, max_tokens, num_tokens) if piece] or [""]


def _units(text: str, max_tokens: int, num_tokens: Callable[[Sequence[str]], list[int]]) -> tuple[list[str], list[int]]:
    """Return neighboring parts of a text that each fit, as large as they come, and their numbers of tokens."""
    units, sizes = [text], [max_tokens + 1]
    for end in _ENDS:
        parts = [_parts(unit, end) if size > max_tokens else [unit] for unit, size in zip(units, sizes, strict=True)]
        units = list(itertools.chain.from_iterable(parts))
        sizes = num_tokens([unit.strip() for unit in units])
        if max(sizes) <= max_tokens:
            return units, sizes
    longest = units[int(np.argmax(sizes))]
    raise ModelError(f"The encoder takes {max_tokens} tokens, but {longest!r} alone has more. Use another encoder.")


def _parts(text: str, end: re.Pattern[str]) -> list[str]:
    cuts = sorted({0, len(text), *(match.end() for match in end.finditer(text))})
    return [text[start:stop] for start, stop in itertools.pairwise(cuts)]


def _fitting(groups: list[list[str]], max_tokens: int, num_tokens: Callable[[Sequence[str]], list[int]]) -> list[str]:
    """Return the texts of the groups; one that does not fit is halved: words may have more tokens side by side."""
    texts = ["".join(group).strip() for group in groups]
    fitting: list[str] = []
    for group, text, count in zip(groups, texts, num_tokens(texts), strict=True):
        half = len(group) // 2
        fits = count <= max_tokens or not half
        fitting += [text] if fits else _fitting([group[:half], group[half:]], max_tokens, num_tokens)
    return fitting


@dataclass(frozen=True)
class BatchRule:
    """How texts become batches.

    Attributes:
        block: texts that are tokenized and sorted by length together.
        max_tokens: tokens in a batch; a longer text is a batch of its own. None: no limit.
        max_texts: pieces of text in a batch; a text in more pieces is a batch of its own. None: no limit.
    """

    block: int
    max_tokens: int | None
    max_texts: int | None


@dataclass(frozen=True)
class Batch:
    """Texts that are encoded together, each whole or in pieces that follow one another.

    Attributes:
        block: number of its block, from 0.
        number: position in its block, from 0.
        rows: positions of T texts among all texts, int64, shape (T,).
        starts: position of each text's first piece, int64, shape (T,).
        pieces: P pieces of text.
        tokens: the pieces' tokens, int32 arrays, where the encoder takes them; else None.
        num_tokens: tokens of each piece, special ones included, int64, shape (P,).
    """

    block: int
    number: int
    rows: np.ndarray
    starts: np.ndarray
    pieces: list[str]
    tokens: list[np.ndarray] | None
    num_tokens: np.ndarray

    def pooled(self, found: np.ndarray) -> np.ndarray:
        """Return the texts' vectors, normalized, float16, shape (T, D).

        The vector of a text in pieces is the mean of the pieces' normalized vectors weighted by their numbers of
        tokens, normalized again.

        Args:
            found: the pieces' vectors, shape (P, D), of any length.

        Raises:
            ModelError: a vector is not finite, or zero.
        """
        vectors = _normalized(found)
        if len(self.rows) < len(self.pieces):
            vectors = _normalized(np.add.reduceat(vectors * self.num_tokens[:, None], self.starts, axis=0))
        return vectors.astype(np.float16)


def plan_block(encoder: Encoder, texts: Sequence[str], block: int, rule: BatchRule) -> list[Batch]:
    """Tokenize a block of texts, split those beyond the encoder's limit, and return its batches.

    Those of the longest texts come first: memory runs out at once or never.

    Args:
        encoder: counts and makes the tokens.
        texts: all texts.
        block: number of the block, from 0.
        rule: the limits of batches.

    Raises:
        ModelError: a single character has more tokens than the encoder takes.
    """
    first = block * rule.block
    pieces = _pieces(encoder, texts[first : first + rule.block])
    batches: list[Batch] = []
    for group in _groups(pieces, rule):
        flat = [piece for position in group for piece in pieces[position]]
        sizes = np.array([len(pieces[position]) for position in group], np.int64)
        tokens = [piece.tokens for piece in flat if piece.tokens is not None]
        batches.append(
            Batch(
                block=block,
                number=len(batches),
                rows=first + np.array(group, np.int64),
                starts=np.cumsum(sizes) - sizes,
                pieces=[piece.text for piece in flat],
                tokens=tokens or None,
                num_tokens=np.array([piece.num_tokens for piece in flat], np.int64),
            )
        )
    return batches


class _Piece(NamedTuple):
    text: str
    tokens: np.ndarray | None
    num_tokens: int


def _pieces(encoder: Encoder, texts: Sequence[str]) -> list[list[_Piece]]:
    """Return the pieces of each text, each within the encoder's limit."""
    limit = encoder.info.max_tokens
    return [
        [whole]
        if limit is None or whole.num_tokens <= limit
        else _tokenized(encoder, split_text(whole.text, limit, encoder.num_tokens))
        for whole in _tokenized(encoder, texts)
    ]


def _tokenized(encoder: Encoder, texts: Sequence[str]) -> list[_Piece]:
    if isinstance(encoder, TokenEncoder):
        tokens = encoder.tokenize(texts)
        return [_Piece(text, own, len(own)) for text, own in zip(texts, tokens, strict=True)]
    return [_Piece(text, None, count) for text, count in zip(texts, encoder.num_tokens(texts), strict=True)]


def _groups(pieces: list[list[_Piece]], rule: BatchRule) -> list[list[int]]:
    """Return the positions of each batch's texts, the longest texts first."""
    totals = [sum(piece.num_tokens for piece in own) for own in pieces]
    groups: list[list[int]] = []
    num_tokens = num_texts = 0
    for position in sorted(range(len(pieces)), key=lambda one: -totals[one]):
        num_tokens, num_texts = num_tokens + totals[position], num_texts + len(pieces[position])
        full = num_tokens > (rule.max_tokens or num_tokens) or num_texts > (rule.max_texts or num_texts)
        if full or not groups:
            groups.append([])
            num_tokens, num_texts = totals[position], len(pieces[position])
        groups[-1].append(position)
    return groups


def _normalized(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1, float64, shape (N, D)."""
    precise = vectors.astype(np.float64)
    lengths = np.linalg.norm(precise, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ModelError(
            "The encoder returned a vector that is not finite, or zero. Its numbers may be too large for fp16: "
            "try --precision fp32."
        )
    return np.asarray(precise / lengths)
