"""Which texts are encoded together: blocks that are tokenized at once, and batches of like length within them.

The plan is a function of the texts, the encoder's tokens and a `BatchRule` alone. So a run that was interrupted forms
the same batches again, and it does not matter who encodes them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sightwords.errors import ModelError
from sightwords.text.encoders import Encoder, TokenEncoder

CountTokens = Callable[[Sequence[str]], list[int]]
Span = tuple[int, int]

_CLOSING = r"\"')\]\u2019\u201d\u00bb"  # quotes and brackets that may close a sentence behind its full stop
_CLOSING_WIDE = r"\u2019\u201d\u300d\u300f\uff09"
# each pattern matches what ends a unit, the next unit starts behind it; none of them looks ahead without bounds,
# since a describer caught in a loop may write a hundred thousand full stops
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


def split_text(text: str, max_tokens: int, num_tokens: CountTokens) -> list[str]:
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
    empty = num_tokens([""])[0]  # special tokens, which every piece has once
    units, counts = _units(text, (0, len(text)), max_tokens, num_tokens, 0)
    if not units:  # nothing but white space, of which some tokenizers make many tokens
        return [""]
    packed = _pack([max(count - empty, 0) for count in counts], max_tokens - empty)
    groups = [units[start:end] for start, end in packed]
    return [text[group[0][0] : group[-1][1]].strip() for group in _fitting(text, groups, max_tokens, num_tokens)]


def _units(text: str, span: Span, max_tokens: int, num_tokens: CountTokens, level: int) -> tuple[list[Span], list[int]]:
    """Return the parts of a span that each fit, as large as they come, and their numbers of tokens."""
    if level == len(_ENDS):
        raise ModelError(
            f"The encoder takes {max_tokens} tokens, but {text[slice(*span)]!r} alone has more. Use another encoder."
        )
    parts = _parts(text, span, _ENDS[level])
    units: list[Span] = []
    counts: list[int] = []
    for part, count in zip(parts, num_tokens([text[slice(*part)].strip() for part in parts]), strict=True):
        if count <= max_tokens:
            units.append(part)
            counts.append(count)
        else:
            finer, finer_counts = _units(text, part, max_tokens, num_tokens, level + 1)
            units += finer
            counts += finer_counts
    return units, counts


def _parts(text: str, span: Span, end: re.Pattern[str]) -> list[Span]:
    """Return a span in parts that are more than white space."""
    start, stop = span
    cuts = sorted({start, stop} | {match.end() for match in end.finditer(text, start, stop)})
    parts = list(itertools.pairwise(cuts))
    return [part for part in parts if text[slice(*part)].strip()]


def _pack(sizes: Sequence[int], limit: int) -> list[Span]:
    """Return ranges of neighbors whose sizes add up to at most `limit`, each as long as it can be."""
    ranges: list[Span] = []
    start, total = 0, 0
    for position, size in enumerate(sizes):
        if position > start and total + size > limit:
            ranges.append((start, position))
            start, total = position, 0
        total += size
    return [*ranges, (start, len(sizes))]


def _fitting(text: str, groups: list[list[Span]], max_tokens: int, num_tokens: CountTokens) -> list[list[Span]]:
    """Return the groups with those halved that do not fit: words may have more tokens together than one by one."""
    counts = num_tokens([text[group[0][0] : group[-1][1]].strip() for group in groups])
    fitting: list[list[Span]] = []
    for group, count in zip(groups, counts, strict=True):
        if count <= max_tokens or len(group) == 1:
            fitting.append(group)
        else:
            half = len(group) // 2
            fitting += _fitting(text, [group[:half], group[half:]], max_tokens, num_tokens)
    return fitting


_TOKENIZED = 2048  # texts that the tokenizer is given at once


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
        number: position in its block, from 0.
        owners: positions of T texts among all texts, int64, shape (T,).
        starts: position of each text's first piece, int64, shape (T,).
        pieces: P pieces of text.
        tokens: the pieces' tokens, int32 arrays, where the encoder takes them; else None.
        num_tokens: tokens of each piece, int64, shape (P,).
    """

    number: int
    owners: np.ndarray
    starts: np.ndarray
    pieces: list[str]
    tokens: list[np.ndarray] | None
    num_tokens: np.ndarray

    def pooled(self, found: np.ndarray) -> np.ndarray:
        """Return the texts' vectors, normalized, float16, shape (T, D).

        The vector of a text in pieces is the mean of the pieces' normalized vectors weighted by their numbers of
        tokens (special ones included), normalized again.

        Args:
            found: the pieces' vectors, shape (P, D), of any length.

        Raises:
            ModelError: a vector has no direction.
        """
        vectors = _normalized(found)
        if len(self.owners) < len(self.pieces):
            vectors = _normalized(np.add.reduceat(vectors * self.num_tokens[:, None], self.starts, axis=0))
        return vectors.astype(np.float16)


@dataclass(frozen=True)
class Counts:
    """What became of texts.

    Attributes:
        num_split: texts that were longer than the encoder's limit.
        num_pieces: pieces that are encoded; a text within the limit is one.
        num_tokens_total: tokens of all pieces, special ones included.
        num_tokens_cut: tokens beyond the encoder's limit.
    """

    num_split: int = 0
    num_pieces: int = 0
    num_tokens_total: int = 0
    num_tokens_cut: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Block:
    """Neighboring texts, tokenized and in batches.

    Attributes:
        number: position among the blocks, from 0.
        batches: the batches, those of the longest texts first: memory runs out at once or never.
        counts: what became of the texts.
    """

    number: int
    batches: list[Batch]
    counts: Counts


def num_blocks(num_texts: int, rule: BatchRule) -> int:
    """Return how many blocks a number of texts makes."""
    return -(-num_texts // rule.block)


def block_rows(number: int, num_texts: int, rule: BatchRule) -> slice:
    """Return the positions of a block's texts."""
    return slice(number * rule.block, min((number + 1) * rule.block, num_texts))


def prepare_block(encoder: Encoder, texts: Sequence[str], number: int, rule: BatchRule) -> Block:
    """Tokenize the texts of a block, part those beyond the encoder's limit, and form batches.

    Raises:
        ModelError: a single character has more tokens than the encoder takes.
    """
    rows = block_rows(number, len(texts), rule)
    pieces: list[str] = []
    tokens: list[np.ndarray] = []
    num_tokens: list[int] = []
    num_pieces: list[int] = []
    for start in range(rows.start, rows.stop, _TOKENIZED):
        found = _pieces(encoder, texts[start : min(start + _TOKENIZED, rows.stop)])
        pieces += found[0]
        tokens += found[1]
        num_tokens += found[2]
        num_pieces += found[3]
    counted, sizes = np.array(num_tokens, np.int64), np.array(num_pieces, np.int64)
    starts = np.cumsum(sizes) - sizes
    totals = np.add.reduceat(counted, starts)
    groups = _groups(totals, sizes, rule)
    batches = [_batch(i, group, rows.start, starts, sizes, (pieces, tokens, counted)) for i, group in enumerate(groups)]
    limit = encoder.info.max_tokens
    cut = 0 if limit is None else int(np.maximum(counted - limit, 0).sum())
    return Block(number, batches, Counts(int((sizes > 1).sum()), len(pieces), int(counted.sum()), cut))


def _pieces(encoder: Encoder, texts: Sequence[str]) -> tuple[list[str], list[np.ndarray], list[int], list[int]]:
    """Return pieces that fit the encoder, their tokens where it takes them, their sizes, and how many each text has."""
    limit = encoder.info.max_tokens
    tokens, counts = _tokenized(encoder, texts)
    pieces: list[str] = []
    kept: list[np.ndarray] = []
    sizes: list[int] = []
    num_pieces: list[int] = []
    for position, (text, count) in enumerate(zip(texts, counts, strict=True)):
        parts = [text] if limit is None or count <= limit else split_text(text, limit, encoder.num_tokens)
        fitting = parts == [text]
        found, lengths = (tokens[position : position + 1], [count]) if fitting else _tokenized(encoder, parts)
        pieces += parts
        kept += found
        sizes += lengths
        num_pieces.append(len(parts))
    return pieces, kept, sizes, num_pieces


def _tokenized(encoder: Encoder, texts: Sequence[str]) -> tuple[list[np.ndarray], list[int]]:
    """Return the tokens of texts, none where the encoder takes texts, and their numbers."""
    if isinstance(encoder, TokenEncoder):
        tokens = encoder.tokenize(texts)
        return tokens, [len(one) for one in tokens]
    return [], encoder.num_tokens(texts)


def _groups(totals: np.ndarray, sizes: np.ndarray, rule: BatchRule) -> list[np.ndarray]:
    """Return the texts of each batch, the longest first.

    Args:
        totals: tokens of each text, shape (T,).
        sizes: pieces of each text, shape (T,).
        rule: the limits.
    """
    order = np.argsort(-totals, kind="stable")
    max_tokens = rule.max_tokens or int(totals.sum())
    max_texts = rule.max_texts or int(sizes.sum())
    cuts, tokens, texts = [0], 0, 0
    for position, (total, size) in enumerate(zip(totals[order].tolist(), sizes[order].tolist(), strict=True)):
        if position > cuts[-1] and (tokens + total > max_tokens or texts + size > max_texts):
            cuts.append(position)
            tokens = texts = 0
        tokens += total
        texts += size
    return np.split(order, cuts[1:])


def _batch(
    number: int,
    group: np.ndarray,
    offset: int,
    starts: np.ndarray,
    sizes: np.ndarray,
    content: tuple[list[str], list[np.ndarray], np.ndarray],
) -> Batch:
    pieces, tokens, num_tokens = content
    places = np.concatenate([np.arange(starts[i], starts[i] + sizes[i]) for i in group])
    return Batch(
        number,
        offset + group,
        np.cumsum(sizes[group]) - sizes[group],
        [pieces[i] for i in places],
        [tokens[i] for i in places] if tokens else None,
        num_tokens[places],
    )


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
