"""The filter between a describer's answer and the description set: the answer is cleaned, then kept or rejected.

Cleaning takes off reasoning, tokens of the chat format, markdown, and stock phrases such as `The image shows`. No model
is asked but a small one for the language. Whether a description contradicts its label is no question of the filter:
`audit` finds that from vectors, in any language.
"""

# ruff: noqa: RUF001

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sightwords.descriptions.config import LANGUAGES

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from py3langid.langid import LanguageIdentifier

    from sightwords.descriptions.config import FilterRules
    from sightwords.descriptions.schema import Status

_MAX_CHARS = 50_000  # far beyond any description; bounds the time for one answer


@dataclass(frozen=True)
class FilterResult:
    """What the filter made of an answer.

    Attributes:
        text: the cleaned text, of a rejected answer too.
        status: `ok` or `rejected`; `failed` where no answer came.
        reason: why it is rejected, or what was done to it; else empty. The same fault always has the same reason, so
            that reasons can be counted.
    """

    text: str
    status: Status
    reason: str = ""


def filter_answer(text: str, rules: FilterRules, cut_at: int | None = None) -> FilterResult:
    """Return an answer's cleaned text and whether it may be used.

    Args:
        text: the answer as it came.
        rules: what a description must be like.
        cut_at: the token limit in tokens, where it cut the answer off.
    """
    if len(text) > _MAX_CHARS:
        return FilterResult(text, "rejected", f"too long (over {_MAX_CHARS:,} characters)")
    cleaned = clean(text, complete=cut_at is None)
    if fault := _fault(cleaned, text):
        return FilterResult(cleaned, "rejected", fault)
    remark = "" if cut_at is None else f"cut off at {cut_at} tokens"
    if cut_at is not None and rules.on_cut != "keep":
        whole = _whole_sentences(cleaned, rules.min_words) if rules.on_cut == "trim" else ""
        if not whole:
            return FilterResult(cleaned, "rejected", remark)
        remark += ", last sentence dropped" if whole != cleaned else ""
        cleaned = whole
    broken = _broken_rule(cleaned, rules)
    return FilterResult(cleaned, "rejected" if broken else "ok", broken or remark)


def _fault(cleaned: str, raw: str) -> str:
    """Return why a text is not a description at all, whatever the rules are, or nothing."""
    if not cleaned:
        return "reasoning without an answer" if _THOUGHT.search(raw) else "empty"
    if _is_refusal(cleaned):
        return "refusal"
    return "repetition" if is_repetitive(cleaned) else ""


def _broken_rule(text: str, rules: FilterRules) -> str:
    num_words = count_words(text)
    if num_words < rules.min_words:
        return f"too short (under {rules.min_words} words)"
    if num_words > rules.max_words:
        return f"too long (over {rules.max_words} words)"
    if rules.language != "any" and is_other_language(text, rules.language):
        return f"wrong language (not {rules.language})"
    return ""


# Control characters but white space, byte order marks, and halves of surrogate pairs, which no UTF-8 file can hold.
_NOISE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ud800-\udfff]")
_THINK = r"(?:\w{1,12}:)?(?:think(?:ing)?|thoughts?|reasoning|reflection)"
_THINK_START = rf"<{_THINK}>|◁think▷|\[THINK\]|<\|(?:begin_of_thought|START_THINKING|channel\|>analysis<\|message)\|>"
_THINK_END = (
    rf"</{_THINK}>|◁/think▷|\[/THINK\]|<\|(?:end_of_thought|END_THINKING|channel\|>final<\|message)\|>|assistantfinal"
)
# reasoning whose end was not reached goes on to the end of the text
_THOUGHT = re.compile(rf"(?:{_THINK_START}).*?(?:{_THINK_END}|\Z)", re.IGNORECASE | re.DOTALL)
_THOUGHT_END = re.compile(_THINK_END, re.IGNORECASE)
# A model that goes on after its answer writes the next question.
_END_OF_TURN = re.compile(
    r"<\|(?:im_end|eot_id|end|endoftext|return|user)\|>|<\|im_start\|>\s?user|</s>|<eos>|<end_of_(?:turn|utterance)>"
    r"|<｜end▁of▁sentence｜>|\n(?:User|Human):"
)
_CHAT_TOKEN = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>|</?(?:s|bos|pad|unk|image|answer|output|start_of_turn)>|\[/?INST\]"
)
_ROLE = re.compile(r"\A\s*(?:assistant|model)\s*\n")


def clean(text: str, complete: bool = True) -> str:
    """Return an answer as plain sentences on one line.

    Args:
        text: the answer as it came.
        complete: whether the model ended it by itself; otherwise its end gets no full stop.
    """
    text = _THOUGHT.sub("", _NOISE.sub("", text))
    text = _THOUGHT_END.split(text)[-1]  # reasoning may begin in the prompt, and only its end be here
    turns = (_CHAT_TOKEN.sub(" ", turn) for turn in _END_OF_TURN.split(text))
    text = _ROLE.sub("", next((turn for turn in turns if turn.strip()), ""))
    text = " ".join(_without_markdown(text, complete).replace("▁", " ").split()).rstrip("\ufffd ")
    for _ in range(6):
        shorter = _without_closing(_without_opening(_unquoted(text)))
        if shorter == text:
            break
        text = shorter
    return text


_BULLET = re.compile(r"(?m)^[ \t]*[•●▪◦][ \t]*")
_LINE_END = re.compile(r"(?<=\w)\n(?=[A-Z])")  # lines such as `Crest: red`, one below the other
_MARKDOWN = re.compile(r"[\n*_`#\[|<&~\\]|\A\s*(?:[-+>]|1[.)])\s")


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # an indented line is no code, and tags are taken off wherever they stand
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable(["code", "html_block", "lheading"])


def _without_markdown(text: str, complete: bool) -> str:
    """Return the headings, list items, table cells and paragraphs of a text as sentences."""
    if not _MARKDOWN.search(text):
        return text
    blocks: list[str] = []
    for token in _markdown().parse(_BULLET.sub("- ", text)):
        if token.type == "inline":
            parts = [child.content if child.type != "html_inline" else " " for child in token.children or ()]
            breaks = [child.type in ("softbreak", "hardbreak") for child in token.children or ()]
            lines = "".join("\n" if new else part for part, new in zip(parts, breaks, strict=True))
            blocks.append(_LINE_END.sub(". ", lines).strip())
        elif token.type == "fence":
            blocks.append(token.content.strip())
    blocks = [block for block in blocks if block]
    num_ended = len(blocks) if complete and len(blocks) > 1 else len(blocks) - 1
    return " ".join(
        f"{block}." if number < num_ended and block[-1].isalnum() else block for number, block in enumerate(blocks)
    )


def _unquoted(text: str) -> str:
    """Return a text without the quotation marks around the whole of it, if there are any."""
    if len(text) > 2 and text[0] + text[-1] in ('""', "“”", "«»", "「」", "''") and text[0] not in text[1:-1]:
        return text[1:-1].strip()
    return text


_MEDIUM = r"(?:image|picture|photo|photograph)"
_IMAGE = rf"(?:the|this|your) (?:(?:provided|given|attached|uploaded) )?{_MEDIUM}(?: you (?:provided|shared|uploaded))?"
_SHOWS = r"(?:shows|depicts|displays|features|captures|presents|portrays|contains|illustrates|showcases)"
_THING = r"(?!(?:that|how|what|where|up)\b)"  # `The image shows that ...` and `shows up` go on otherwise
_OPENING = re.compile(
    r"(?:sure|certainly|of course|absolutely|okay)(?:[!.]|,(?= (?:here|i|let|so|the|this|in)\b)) (?:so,? )?"
    r"|(?:i(?:'d| would) be happy to|let me|i(?:'ll| will| can)) (?:help|assist|describe|provide)[^.!:]*[.!:] ?"
    r"|(?:here(?:'s| is)|below is) [^.!:]{0,80}\b(?:description|caption|summary)\b[^.!:]{0,80}[.:] ?"
    r"|(?:(?:image|photo|short|detailed|final) )?(?:description|caption|answer|assistant)(?: of the image)?[:.](?: |\Z)"
    rf"|{_MEDIUM}: "
    rf"|in {_IMAGE}(?:,| (?=(?:an?|the|there|we|you|i)\b)) ?(?:(?:we|you|i)(?: can)?(?: clearly)? see {_THING})?"
    rf"|{_IMAGE} (?:clearly |mainly |primarily )?{_SHOWS}:? {_THING}"
    rf"|(?:this|{_IMAGE}) is an? {_MEDIUM} (?:of|showing) |{_MEDIUM} {_SHOWS} (?=an?\b)|{_IMAGE} is of (?=an?\b)"
    r"|i can (?:clearly )?see (?=(?:an?|the|two|three|several|many)\b)",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"(?:\A|(?<=[.!?:] ))(?:let me know (?:if|what)|(?:i )?hope (?:this|that) helps|feel free to"
    r"|is there anything else|would you like (?:me|to|more)|do you (?:need|want|have)|i(?:'d| would) be happy to"
    r"|if you(?:'d| would)? (?:have|need|want|like)\b[^.!?]{0,120}\b(?:let me know|feel free|ask))"
    r"[^.!?]{0,200}[.!?]*[^\w\"'”’.!?]{0,12}\Z",
    re.IGNORECASE,
)


def _without_opening(text: str) -> str:
    """Return a text without a stock phrase at its start, and with a capital letter first where one was taken off."""
    match = _OPENING.match(text[:600].replace("’", "'"))
    if match is None:
        return text
    rest = text[match.end() :]
    return rest[:1].upper() + rest[1:] if rest.split(" ", 1)[0].islower() else rest


def _without_closing(text: str) -> str:
    start = max(0, len(text) - 400)
    match = _CLOSING.search(text[start:].replace("’", "'"))
    return text[: start + match.start()].rstrip() if match else text


_QUOTED = re.compile(r'"[^"]{1,400}"|“[^“”]{1,400}”|«[^«»]{1,400}»|(?<!\w)\'[^\']{1,400}\'(?!\w)')  # what an image says
_REFUSAL_STARTS = (
    "i'm sorry, ", "i am sorry, ", "i am very sorry", "sorry, i", "sorry, but", "i apologize", "my apologies",
    "unfortunately, i", "unfortunately, the image", "i can't ", "i cannot ", "i'm unable to", "i am unable to",
    "i'm not able to", "i am not able to", "i do not have", "i don't have", "unable to process", "as an ai ",
    "as an ai,", "as a text-based ai", "i'm just a language model", "i must decline", "no image provided",
    "很抱歉", "抱歉", "对不起", "對不起", "申し訳", "죄송", "es tut mir leid", "je suis désolé", "désolé", "lo siento",
    "mi dispiace", "sinto muito", "desculpe", "извините", "к сожалению",
)  # fmt: skip
_REFUSAL_PHRASES = (
    "help with that", "can't help", "can't assist", "cannot assist", "unable to assist", "can't see the image",
    "cannot see the image", "can't see any image", "can't view", "cannot view", "don't see an image",
    "don't see any image", "do not see an image", "do not see any image", "no image was provided", "no image attached",
    "isn't an image", "no image is attached", "no image was attached", "image did not load",
    "image could not be", "didn't provide an image", "haven't provided an image",
    "haven't uploaded an image", "please upload", "please provide the image", "please provide an image",
    "as an ai language model", "our content policy",
)  # fmt: skip


def _is_refusal(text: str) -> bool:
    """Return whether a cleaned answer refuses to describe, or says that it was shown no image."""
    head = _QUOTED.sub("-", text[:400]).replace("’", "'").lower()
    return head.startswith(_REFUSAL_STARTS) or any(phrase in head for phrase in _REFUSAL_PHRASES)


def is_repetitive(text: str) -> bool:
    """Return whether a model got caught in a loop: zlib makes the text, or its end, much smaller than other text.

    The threshold for the last 400 characters is that of Radford et al., "Robust Speech Recognition via Large-Scale Weak
    Supervision", 2022, section 4.5; whole answers may be longer, and long English text alone reaches 2.4.
    """
    return _compression_ratio(text[-400:]) > 2.4 or _compression_ratio(text) > 3.0


def _compression_ratio(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data))


# Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana and Han.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]{{1,2}}|[^\W_{_UNSPACED}][^\s{_UNSPACED}]*")
_SENTENCE_END = re.compile(
    r"(?:(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bSt)(?<!\be\.g)(?<!\bi\.e)\.|[!?…।؟])[\"'”’»)\]]*(?=\s|\Z)|[。！？][”’」』）]*"
)


def count_words(text: str) -> int:
    """Return the number of words; where a script puts no spaces between words, two characters count as one."""
    return sum(1 for _ in _WORD.finditer(text))


def _whole_sentences(text: str, min_words: int) -> str:
    """Return a text without its unfinished last sentence; empty unless `min_words` words are left."""
    end = max((match.end() for match in _SENTENCE_END.finditer(text)), default=0)
    return text[:end] if count_words(text[:end]) >= min_words else ""


# Names of species are Latin, lists are no language, and Cantonese is written much as Chinese is.
_NO_EVIDENCE = ("la", "zxx", "eo", "yue")
# A short text in one of a group is easily taken for another.
_CLOSE = "da no nn|bs hr sr sl mk|cs sk|id ms|es pt gl ca|nl af|ru uk be bg|hi mr ne|fa ur ar|az tr|kk mn uz"


def is_other_language(text: str, wanted: str) -> bool:
    """Return whether a cleaned text of four words or more is surely not in the wanted language (ISO 639-1 code).

    What stands in quotation marks is left out: it is what the image says. The model is py3langid's (Lui and Baldwin,
    "Cross-domain Feature Selection for Language Identification", IJCNLP 2011).
    """
    text = _QUOTED.sub("", text[:400])
    if count_words(text) < 4:
        return False
    ranking = _language_identifier().rank(text)
    same = {wanted}.union(*(group.split() for group in _CLOSE.split("|") if wanted in group.split()))
    own = sum(probability for language, probability in ranking if language in same)
    best, probability = ranking[0]
    return bool(own < 1e-3 and probability >= 0.3 and best not in _NO_EVIDENCE)


@lru_cache(maxsize=1)
def _language_identifier() -> LanguageIdentifier:
    """Return the model, loaded at the first call, which takes a second and about 120 MB."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([*LANGUAGES.split(), *_NO_EVIDENCE])
    return identifier
