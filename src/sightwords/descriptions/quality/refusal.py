"""Whether an answer refuses, or says that there is no image, instead of describing one."""

# ruff: noqa: RUF001

from __future__ import annotations

import re

from sightwords.descriptions.quality.quote import without_quotes

# Refusals stand at the beginning; further on, the same words are about what the image shows.
_HEAD_CHARS = 500

_IMAGES = r"(?:images?|pictures?|photos?|photographs?|attachments?|files?|visual content|visual inputs?)"
# `the image on the wall` and the like are parts of what is described
_NOT_A_PART = r"(?! (?:on|hanging|behind|inside|within|of|frames?|in the (?:back|mid|fore|top|bottom|left|right))\b)"
_CANNOT = (
    r"(?:(?:i|we) (?:can't|cannot|can not|couldn't|could not|won't|will not)(?: be able to)?"
    r"|(?:i'm|i am|we're|we are) (?:unable|not able|not allowed|not permitted) to"
    r"|(?:i|we) do(?:n't| not) have (?:the )?(?:ability|capability|capacity) to)"
    r"(?: (?:directly|actually|currently|really|physically|in good conscience))?"
)
_LOOK = r"(?:see|view|access|open|process|analy[sz]e|describe|look at|display|interpret|examine|load|retrieve|perceive)"
_SEEMS = r"(?:(?:it|i) (?:seems?|appears?|looks?|think)(?: like| that| as if| as though)? )?(?:that )?"
_GIVEN = r"(?:provided|attached|uploaded|given|included|found|received|shared|supplied|submitted|detected|sent)"
_DESCRIBE = r"(?:describe|analy[sz]e)"

# only as the first words of the answer
_OPENINGS = (
    r"(?:i'm|i am|we're|we are) (?:\w+ )?sorry\b.{0,200}?"
    r"(?:can't|cannot|can not|unable|not able|won't|n't (?:have|see|assist|help)"
    r"|not (?:have|see|allowed|permitted|comfortable|provided|visible|possible)|no image"
    r"|too (?:blur|dark|small|low)\w*\b)",
    r"(?:sorry|apologies|my apologies|unfortunately|regrettably|i apologi[sz]e|i regret)\b.{0,100}?"
    rf"\b(?:{_CANNOT}|(?:i|we) do(?:n't| not) (?:see|have)|no {_IMAGES} |unable to|the {_IMAGES} is too "
    rf"|the {_IMAGES} (?:is|was|can|could|did|does)(?:n't| ?not)\b)",
    rf"(?:unable to|cannot|can't|can not) (?:{_LOOK} (?:the|this|your|any|an) {_IMAGES}{_NOT_A_PART}|assist|comply)\b",
    rf"{_CANNOT} (?:provide|give|offer|create|generate|write|produce|make|complete|answer|do) "
    r"(?:a|an|any|the|that|this|you|it|such|your)\b",
    rf"{_CANNOT} (?:identify|name|recogni[sz]e|determine) (?:who\b|th(?:e|is) (?:person|individual|man|woman)\b"
    r"|(?:or \w+ )?(?:real |specific |individual )?(?:people|persons|individuals|faces)\b)",
    rf"{_CANNOT} (?:determine|tell|discern|identify|make out) what(?:'s| is) (?:(?:shown|depicted) )?in (?:the|this) "
    rf"{_IMAGES}",
    r"(?:i|we) do(?:n't| not) have (?:enough|sufficient|any) (?:information|context|details)\b",
    rf"i (?:would )?need to see the {_IMAGES}\b",
    rf"no {_IMAGES} (?:{_GIVEN}|available)\b",
    rf"(?:the|this|your) {_IMAGES} (?:is|are) (?:missing|unavailable|not available|inaccessible|not accessible)\b",
    r"error: .{0,40}\b(?:unable|could not|failed|cannot|not found)\b",
    r"(?:很抱歉|抱歉|对不起|對不起|不好意思)[,，!！。]?\s?(?:但)?(?:我|无法|無法)|作为一[个個名](?:ai|人工智能|语言模型)",
    r"申し訳(?:ありません|ございません)|죄송(?:합니다|하지만)",
    r"es tut mir (?:sehr )?leid, (?:aber )?(?:ich|als)|als (?:ki|sprachmodell)\b.{0,40}\bich\b",
    r"je suis (?:vraiment )?désolée?, (?:mais )?je|désolée?, (?:mais )?je (?:ne|suis)|en tant qu'(?:ia|intelligence)",
    r"lo siento, (?:pero )?no puedo|mi dispiace, (?:ma )?non posso",
    r"(?:sinto muito|desculpe), (?:mas )?(?:eu )?não posso",
    r"(?:извините|простите|к сожалению), (?:но )?(?:я )?не могу",
)
# as the first words of any sentence of the beginning
_SENTENCES = (
    rf"{_CANNOT} {_LOOK}(?: (?:the|this|your|any|an|or|\w+ing|{_LOOK}|attached|uploaded|provided|actual)){{0,4}} "
    rf"{_IMAGES}\b{_NOT_A_PART}",
    rf"{_CANNOT} (?:assist|help|comply|engage|fulfil\w*|continue with|process your|do that)\b",
    r"as an? (?:\w+[ -]){0,3}?(?:ai|a\.i\.|artificial intelligence|language model|llm|assistant|chatbot)"
    r"(?: (?:language )?(?:model|assistant|system|chatbot|program))?,? (?:i|my)\b",
    r"(?:i'm|i am) (?:just |only |merely )?an? (?:\w+[ -]){0,3}?"
    r"(?:ai|language model|artificial intelligence|text-only)\b",
    r"(?:i|we) (?:must|have to|need to|will have to) (?:respectfully |politely )?(?:decline|refuse)\b",
    r"i(?:'d| would) (?:rather|prefer) not|i prefer not to|i (?:don't|do not) feel comfortable|i refuse to\b",
    r"i(?:'m| am) not (?:comfortable|going to (?:describe|help|assist)|programmed|designed|equipped|capable)\b",
    rf"{_SEEMS}no {_IMAGES} (?:(?:was|were|is|are|has been|have been|(?:seems?|appears?) to (?:be|have been)) )?"
    rf"(?:actually )?{_GIVEN}\b",
    rf"{_SEEMS}there (?:is|was|are|were|seems to be|appears to be) no {_IMAGES} (?:{_GIVEN}|here|to {_DESCRIBE}"
    r"|in (?:your|the|this) (?:message|request|prompt|conversation)|for me|available)\b",
    rf"{_SEEMS}there (?:isn't|is not|wasn't) (?:an?|any) {_IMAGES} (?:{_GIVEN}|here|to {_DESCRIBE}|in your)\b",
    rf"{_SEEMS}(?:the|this|your) {_IMAGES}(?: you \w+)? (?:wasn't|was not|isn't|is not|has not been|hasn't been) "
    rf"(?:\w+ )?(?:{_GIVEN}|loading|accessible)",
    rf"{_SEEMS}(?:the|this|your) {_IMAGES}(?: you \w+)? (?:did not|didn't|does not|doesn't|failed to"
    r"|(?:could not|couldn't|cannot|can't) be) "
    r"(?:load|upload|come through|display|process|open|view|render|retriev|access|describ|attach)\w*",
    rf"{_SEEMS}you (?:haven't|have not|didn't|did not|forgot to|don't seem to have|(?:may|might) have forgotten to)"
    r"(?: actually)? (?:provide|upload|share|attach|include|send|sent)",
    r"(?:please|kindly|could you(?: please)?|can you(?: please)?|would you(?: please)?) "
    r"(?:provide|upload|share|attach|send|re-?upload|supply)\b.{0,30}\b"
    rf"(?:{_IMAGES}|more (?:context|information|details))\b",
    r"(?:i|we) (?:don't|do not|didn't|did not|can't|cannot) (?:(?:actually|currently) )?"
    r"(?:see|receive|have|find|detect|get) (?:access to )?(?:(?:any|an|the|your|a) )?(?:attached |uploaded )?"
    rf"{_IMAGES}\b{_NOT_A_PART}",
)
_AGAINST_POLICY = (
    r"\b(?:against|violates?|violation of|goes against) (?:my|our|openai's|the (?=content|usage|safety)) ?(?:\w+ )?"
    r"(?:policy|policies|guidelines|programming|principles)\b"
)
_OPENING = re.compile("|".join(_OPENINGS))
_SENTENCE_START = r"(?:\A|(?<=[.!?,] )(?:(?:but|and|so|however|therefore),? )?)"
_SENTENCE = re.compile(rf"{_SENTENCE_START}(?:{'|'.join(_SENTENCES)})|{_AGAINST_POLICY}")
# One of these is in every refusal that is not an opening; looking for them costs little.
_SIGNS = (
    "n't ", "cannot ", "not ", "unable ", "no image", "no picture", "no photo", "no attach", "no file", "no visual",
    "as a", " ai", "a text", "artificial", "language model", "decline", "refuse", "rather", "failed", "forgot",
    "please", "kindly", "could you", "can you", "would you", "against ", "violat",
)  # fmt: skip


def is_refusal(text: str) -> bool:
    """Return whether a cleaned answer refuses to describe, or says that it was shown no image.

    What an image says in quotation marks is left out. `Cannot` alone is no sign: a bird that cannot be seen in full,
    and an observer who cannot see a bird's feet, are parts of descriptions.
    """
    head = without_quotes(text[:_HEAD_CHARS]).replace("’", "'").lower()
    if _OPENING.match(head):
        return True
    return any(sign in head for sign in _SIGNS) and _SENTENCE.search(head) is not None
