"""Reasoning that a model was to keep to itself."""

from __future__ import annotations

import re

# Tags of the model families, as they appear in answers; an opening tag may be part of the prompt and so be absent.
_NAMES = r"(?:\w{1,12}:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|inner_monologue)"
_TAG = re.compile(
    rf"<(?P<xml>/?){_NAMES}>|◁(?P<kimi>/?)think▷|\[(?P<mistral>/?)THINK\]"
    r"|<\|(?:begin|(?P<of>end))_of_(?:thought|thinking)\|>|<\|(?:START|(?P<cohere>END))_THINKING\|>"
    r"|<\|channel\|>(?:analysis|commentary|(?P<harmony>final))(?:<\|message\|>)?|(?P<bare>assistantfinal)"
    r"|<unused94>(?:thought)?|(?P<gemma><unused95>)",
    re.IGNORECASE,
)
# One of these is in every tag; looking for them costs little.
_SIGNS = ("<", "◁", "[", "assistantfinal")


def without_reasoning(text: str) -> str:
    """Return a text without what stands between think tags.

    A closing tag that was never opened ends reasoning that began with the text. An opening tag that is never closed
    means that no answer was reached: nothing is returned.
    """
    if not any(sign in text for sign in _SIGNS):
        return text
    kept: list[str] = []
    start, inside = 0, False
    for tag in _TAG.finditer(text):
        if not inside:
            kept.append(text[start : tag.start()])
        closing = any(tag.groupdict().values())
        if closing and not inside:
            kept.clear()
        inside, start = not closing, tag.end()
    if inside:
        return ""
    return " ".join((*kept, text[start:])) if start else text
