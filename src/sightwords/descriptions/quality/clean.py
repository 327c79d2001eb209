"""An answer as plain sentences: without reasoning, tokens of the chat format, markdown, and words about the answer."""

# ruff: noqa: RUF001

from __future__ import annotations

import re

from sightwords.descriptions.quality.boilerplate import without_closing, without_opening
from sightwords.descriptions.quality.markdown import plain_lines, plain_sentences
from sightwords.descriptions.quality.quote import unquoted
from sightwords.descriptions.quality.reasoning import without_reasoning

_MAX_ROUNDS = 6

# What ends an answer; a model that goes on after it writes the next question.
_END_OF_TURN = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|end|endoftext|end_of_text|end_of_turn|return|eot|EOT|user)\|>|<\|im_start\|>\s?user"
    r"|<｜end▁of▁sentence｜>|</s>|<eos>|<end_of_turn>|<end_of_utterance>|\[/?INST\]"
    r"|\n(?:#{1,4} )?(?:User|Human|USER|HUMAN|Instruction):"
)
_TOKEN = re.compile(
    r"<\|im_start\|>\s?assistant\b|<start_of_turn>\s?model\b|<\|start_header_id\|>\s?assistant\s?<\|end_header_id\|>"
    r"|<\|[^<>|\s]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>"
    r"|</?(?:s|bos|eos|pad|unk|mask|image|img|im_patch|start_of_turn|(?:start|end)_of_image|answer|output|response"
    r"|description|caption|fake_token_around_image|global-img|row_\d+_col_\d+|unused\d+|0x[0-9A-F]{2})>"
    r"|\[(?:SEP|CLS|PAD|UNK|EOS|BOS|IMG|IMG_END|IMG_BREAK)\]"
)
_ROLE = re.compile(r"\A\s*(?:assistant|model)\s*\n")
_CONTENT = re.compile(r"[^\W_]")
# Control characters but white space, byte order marks, and halves of surrogate pairs, which no UTF-8 file can hold.
_NOISE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ud800-\udfff]")


def clean(text: str, complete: bool = True) -> str:
    """Return an answer as plain sentences on one line; takes time linear in its length.

    Taken off are reasoning between think tags, tokens of the chat format and what follows them, openings such as `The
    image shows` (what is left starts with a capital letter then), closings such as `Let me know if`, markdown, and
    quotation marks around the whole. Headings and list items become sentences.

    Args:
        text: the answer as it came.
        complete: whether the model ended it by itself; otherwise nothing is done to make its end look like one.
    """
    text = without_tokens(without_reasoning(_NOISE.sub("", text))).replace("▁", " ")
    if markdown := plain_lines(text):
        text = plain_sentences(markdown, complete)
    text = " ".join(text.split()).rstrip("\ufffd ")
    for _ in range(_MAX_ROUNDS):
        shorter = without_closing(without_opening(unquoted(text)))
        if shorter == text:
            break
        text = shorter
    return text


def without_tokens(text: str) -> str:
    """Return the first turn of an answer that says anything, without the tokens of the chat format."""
    text = _ROLE.sub("", text)
    for turn in _END_OF_TURN.split(text):
        turn = _TOKEN.sub(" ", turn) if "<" in turn or "[" in turn else turn
        if _CONTENT.search(turn):
            return turn
    return "" if "<" in text or "[" in text else text
