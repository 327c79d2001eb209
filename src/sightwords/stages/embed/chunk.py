"""Text that is longer than an encoder's limit, in pieces that fit: at sentences, else clauses, words, characters.

Nothing is lost: the pieces, put together, are the text but for the white space where it was parted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

from sightwords.errors import ModelError

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
