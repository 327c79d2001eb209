"""The verdict on one answer: its cleaned text, and whether that may be used."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from sightwords.descriptions.quality.clean import clean
from sightwords.descriptions.quality.contradiction import contradicts_label
from sightwords.descriptions.quality.language import ANY, check_language, is_other_language, language_name
from sightwords.descriptions.quality.refusal import is_refusal
from sightwords.descriptions.quality.repetition import is_repetitive
from sightwords.descriptions.quality.words import count_words, whole_sentences
from sightwords.descriptions.schema import Status
from sightwords.errors import ConfigError


@dataclass(frozen=True)
class Rules:
    """What a usable description must be like.

    Attributes:
        min_words: fewest words; scripts without spaces are counted by characters (see `count_words`).
        max_words: most words.
        on_cut: of an answer that the token limit ended, `trim` drops the unfinished sentence, `keep` takes all, and
            `reject` refuses it.
        language: ISO 639-1 code of the language that it must be in, or `any`.

    Raises:
        ConfigError: the language is not one that can be told from others.
    """

    min_words: int = 2
    max_words: int = 400
    on_cut: Literal["trim", "keep", "reject"] = "trim"
    language: str = "en"

    def __post_init__(self) -> None:
        if self.max_words < self.min_words:
            raise ConfigError(f"At most {self.max_words} words are allowed, but at least {self.min_words} needed.")
        check_language(self.language)


@dataclass(frozen=True)
class Verdict:
    """What becomes of an answer.

    Attributes:
        text: the cleaned text, of a rejected answer too.
        status: `ok` or `rejected`.
        reason: why it is rejected, or what was done to it; empty where there is nothing to say. The same fault always
            has the same reason, so that reasons can be counted.
    """

    text: str
    status: Status
    reason: str


def judge(
    text: str, rules: Rules, class_name: str = "", other_names: Collection[str] = (), cut_at: int | None = None
) -> Verdict:
    """Return an answer's cleaned text and whether it may be used; takes time linear in its length.

    Args:
        text: the answer as it came.
        rules: what a usable description must be like.
        class_name: readable name of the image's class where the prompt named it; synonyms separated by commas.
        other_names: readable names of the data set's other classes, likewise.
        cut_at: the token limit where it ended the answer.
    """
    cleaned = clean(text, complete=cut_at is None)
    if reason := _useless(cleaned, cut_at):
        return Verdict(cleaned, "rejected", reason)
    remark = ""
    if cut_at is not None:
        cleaned, remark, usable = _cut(cleaned, rules, cut_at)
        if not usable:
            return Verdict(cleaned, "rejected", remark)
    reason = _unfit(cleaned, rules, class_name, other_names)
    return Verdict(cleaned, "rejected" if reason else "ok", reason or remark)


def _cut(text: str, rules: Rules, cut_at: int) -> tuple[str, str, bool]:
    """Return what is kept of an answer that the token limit ended, what to say of it, and whether it is usable."""
    remark = f"cut at {cut_at} tokens"
    if rules.on_cut == "keep":
        return text, remark, True
    whole = whole_sentences(text, rules.min_words) if rules.on_cut == "trim" else ""
    if not whole:
        return text, remark, False
    return whole, f"{remark}, " + ("after a sentence" if whole == text else "last sentence dropped"), True


def _useless(text: str, cut_at: int | None) -> str:
    """Return why a text is no description at all, whatever the rules are, or nothing."""
    if not text:
        return "empty" if cut_at is None else f"empty, cut at {cut_at} tokens"
    if is_refusal(text):
        return "refusal"
    return "repetition" if is_repetitive(text) else ""


def _unfit(text: str, rules: Rules, class_name: str, other_names: Collection[str]) -> str:
    """Return which rule a description breaks, or nothing."""
    num_words = count_words(text)
    if num_words < rules.min_words:
        return f"too short (under {rules.min_words} words)"
    if num_words > rules.max_words:
        return f"too long (over {rules.max_words} words)"
    if rules.language != ANY and is_other_language(text, rules.language):
        return f"not in {language_name(rules.language)}"
    if class_name and contradicts_label(text, class_name, other_names):
        return "contradicts the label"
    return ""
