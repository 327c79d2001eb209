"""Quoted words: what an image says is not what its description says."""

# ruff: noqa: RUF001

from __future__ import annotations

import re

_LONGEST_QUOTE = 400
_PAIRS = {'"': '"', "“": "”", "„": "“”", "«": "»", "»": "«", "「": "」", "『": "』", "‘": "’", "'": "'", "`": "`'"}
_MARKED = re.compile(
    rf'"[^"]{{1,{_LONGEST_QUOTE}}}"|[“„][^“”„]{{1,{_LONGEST_QUOTE}}}[”“]|«[^«»]{{1,{_LONGEST_QUOTE}}}»'
    rf"|「[^「」]{{1,{_LONGEST_QUOTE}}}」|『[^『』]{{1,{_LONGEST_QUOTE}}}』"
    # an apostrophe between letters does not close single quotation marks
    rf"|(?<!\w)['‘](?=\S)(?:[^'‘’\"]|(?<=\w)['’](?=\w)){{1,{_LONGEST_QUOTE}}}(?<=\S)['’](?!\w)"
)
_MARKS = re.compile("[\"'“„«「『‘]")


def without_quotes(text: str) -> str:
    """Return a text with a dash for everything that stands in quotation marks."""
    return _MARKED.sub(" - ", text) if _MARKS.search(text) else text


def unquoted(text: str) -> str:
    """Return a text without the quotation marks around the whole of it, if there are any."""
    while len(text) > 2 and text[-1] in _PAIRS.get(text[0], ""):
        inner = text[1:-1]
        if text[0] in inner and not _only_apostrophes(text[0], inner):
            break
        if text[-1] in inner and not _only_apostrophes(text[-1], inner):
            break
        text = inner.strip()
    return text


def _only_apostrophes(mark: str, text: str) -> bool:
    if mark not in "'’":
        return False
    return re.search(rf"(?<!\w){mark}|{mark}(?!\w)", text) is None
