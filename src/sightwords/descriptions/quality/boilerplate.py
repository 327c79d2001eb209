"""Words about the answer instead of the image: `Sure! The image shows ...`, `Let me know if ...`."""

# ruff: noqa: RUF001

from __future__ import annotations

import re

_HEAD_CHARS = 600
_TAIL_CHARS = 400
_MAX_ROUNDS = 8

_IMAGE = r"(?:image|picture|photo|photograph|snapshot|scene)"
# Only adjectives that say nothing: `the black and white photograph shows` must stay.
_EMPTY = r"(?:provided|given|attached|uploaded|supplied|displayed|presented|above|current|following) "
_BY_USER = r" (?:provided|given|above|below|attached|uploaded|here|you(?:'ve| have)? (?:provided|shared|uploaded|sent))"
_THE_IMAGE = rf"(?:the|this|your) (?:{_EMPTY})?{_IMAGE}(?:{_BY_USER})?"
_ADVERB = r"(?:(?:clearly|prominently|primarily|mainly|mostly|simply|vividly|beautifully|also|actually) )?"
_SHOWS = (
    r"(?:shows|depicts|displays|features|captures|presents|portrays|contains|illustrates|showcases|includes|is of"
    r"|is showing|is depicting|consists of|focuses on)"
)
# What may follow for the rest to be a description that starts here; `shows that` and `shows up` go on otherwise.
_QUALITY = (
    r"(?:a |an |very |rather )*(?:high|low|good|poor|great|excellent|bad|medium|limited|decent)(?:er)?[ -](?:\w+ )?"
    r"(?:quality|resolution)"
)
_THING = (
    r"(?!(?:that|how|what|why|when|where|whether|who|which|if|as|in|on|at|to|by|with|from|for|and|or|but|up|off|out|us"
    rf"|you|me|itself|is|are|was|were|clearly|prominently|primarily|mainly|mostly|exactly|{_QUALITY})\b)(?=\S)"
)
_MEDIUM = (
    r"(?:image|picture|photo|photograph|snapshot|painting|drawing|illustration|close-up|closeup|view|shot|screenshot"
    r"|rendering|render|collage|portrait|sketch|diagram|map|chart|poster|cartoon|depiction|scan|artwork)"
)
_OF = r"(?:of|showing|depicting|featuring|that shows|which shows|that depicts)"
_SEE = r"(?:see|observe|notice|spot|find|identify|view)"
_CAN = r"(?:(?:can|could|may) )?(?:clearly |also |just )?"
_SUBJECT_AHEAD = r"(?=(?:a|an|the|there|we|you|i|one|it|two|three|four|several|some|many|multiple)\b)"
_DETERMINER_AHEAD = r"(?=(?:an?|the|two|three|four|several|some|many|multiple|numerous)\b)"
_ANSWER = r"(?:description|caption|summary|overview|breakdown|analysis|answer|response|sentence|explanation|account)"
# the rest of a sentence about the answer; one with `but` or `if` may be a refusal, which must stay
_REST = r"(?:(?!\b(?:but|however|not|cannot|if|once|unfortunately|unable)\b|n't)[^.!:]){0,160}"

_FILLER = r"(?:image|photo|picture|visual|detailed|brief|short|final|generated|suggested|possible|concise|full|alt)"

_OPENINGS = (
    # Sure! Certainly, here is ...
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|all right|no problem|got it|understood|yes"
    r"|definitely|gladly)(?:[!.:;]+| [–—-]|,(?= (?:here|i|i'm|i'd|i'll|let|let's|this|the|so|below|in|based)\b)) "
    r"(?:so,? (?=the |this |in ))?",
    # Thank you for sharing this image. I'd be happy to help! Let me describe what I see.
    rf"thank you for (?:sharing|providing|uploading|the|your) {_REST}[.!:]+ ?",
    r"(?:i(?:'d| would) be (?:happy|glad|delighted) to|i(?:'ll| will| can)(?: now| gladly| certainly)?|let me|let's"
    r"|allow me to|i'm happy to) (?:help|assist|describe|provide|give|analy[sz]e|break|take a (?:closer )?look|look)\b"
    rf"(?:(?=[.!:])|(?=[^.!:]*\b(?:image|picture|photo\w*|scene|you|that|this|it|see)\b){_REST})[.!:]+ ?",
    # Here is a detailed description of the image: Description:
    r"(?:here(?:'s| is| are)|below is|the following is)(?: (?:a|an|the|your|my|one))?(?: [\w,-]+){0,5} "
    rf"{_ANSWER}s?\b{_REST}[.:]+ ?",
    r"here are (?:the|some)(?: [\w-]+){0,3} (?:features|details|characteristics|observations)\b[^.!:]{0,120}: ?",
    rf"(?:{_FILLER} ){{0,2}}(?:{_ANSWER}|output|assistant|alt text)(?: of (?:the|this) (?:\w+ )?{_IMAGE})? ?"
    r"(?::|\.(?= |\Z)) ?",
    r"(?:image|photo|picture) ?: ",
    # In this image, we can see ... I can see ...
    rf"(?:in|on|from|within|looking at|based on|according to|as seen in) {_THE_IMAGE}"
    rf"(?:, (?:it is clear that |as \w+, )?| {_SUBJECT_AHEAD})"
    rf"(?:(?:we|you|i|one|the viewer) (?:{_CAN}{_SEE}|have|are shown|are presented with) {_THING})?",
    rf"(?:(?:we|you|one|i) can (?:clearly |also )?{_SEE}|(?:we|i|here we) see|here we have) {_DETERMINER_AHEAD}",
    rf"(?:shown|seen|depicted|pictured|visible|displayed) (?:here|in (?:the|this) {_IMAGE}) (?:is|are) "
    rf"{_DETERMINER_AHEAD}",
    # The image shows ... The photo is of ... This is a picture of ...
    rf"{_THE_IMAGE} {_ADVERB}{_SHOWS}:? {_THING}",
    rf"{_IMAGE} {_SHOWS} {_DETERMINER_AHEAD}",
    rf"{_THE_IMAGE} {_ADVERB}{_SHOWS}:?\Z",
    rf"(?:{_THE_IMAGE}|this) is an? (?:{_EMPTY})?{_IMAGE} {_OF} {_THING}",
    rf"(?:{_THE_IMAGE} is|this is) (?=an? (?:[\w-]+,? ){{0,5}}?{_MEDIUM} (?:{_OF})\b)",
)
_OPENING = re.compile("|".join(_OPENINGS), re.IGNORECASE)
_CLOSINGS = (
    r"let me know (?:if|whether|what|how|should|in case)",
    r"(?:i )?hope (?:this|that|it) (?:helps|is helpful|was helpful|description|gives|answers)",
    r"is there anything else",
    r"feel free to (?:ask|let|reach|share|provide)",
    r"if you(?:'d| would)? (?:have|need|want|like|require|wish)\b[^.!?]{0,120}"
    r"\b(?:let me know|ask|feel free|i can|i'd|i would|i'm)",
    r"would you like (?:me|to know|more|a)",
    r"do you (?:want me|need (?:any|more)|have any)",
    r"(?:i(?:'d| would) be )?happy to (?:help|assist|provide|answer|elaborate)",
    r"(?:i'm|i am) (?:happy|here) to (?:help|assist)",
    r"thank(?:s| you) for (?:sharing|providing|uploading|asking)",
)
_CLOSING = re.compile(
    rf"(?:\A|(?<=[.!?…:\"”)]) )(?:please )?(?:{'|'.join(_CLOSINGS)})[^.!?]{{0,200}}[.!?]*[^\w.!?\"'”’]{{0,12}}\Z",
    re.IGNORECASE,
)
# One of these is in every closing; looking for them costs little.
_CLOSING_SIGNS = (
    " know",
    "hope ",
    "anything",
    "feel free",
    "if you",
    "would you",
    "do you",
    "happy to",
    "here to",
    "thank",
)


def without_opening(text: str) -> str:
    """Return a text on one line without the words about the answer that it begins with, and a capital letter first.

    Several in a row are taken off. Words that carry meaning stay, such as the medium in `The painting shows a ship`.
    """
    bare = text
    for _ in range(_MAX_ROUNDS):
        match = _OPENING.match(bare[:_HEAD_CHARS].replace("’", "'"))
        if not match or not match.end():
            break
        bare = bare[match.end() :]
    return text if bare is text else _capitalized(bare)


def without_closing(text: str) -> str:
    """Return a text on one line without the sentences about the answer that it ends with."""
    for _ in range(_MAX_ROUNDS):
        start = max(0, len(text) - _TAIL_CHARS)
        tail = text[start:].replace("’", "'")
        if not any(sign in tail.lower() for sign in _CLOSING_SIGNS):
            break
        match = next((found for found in _CLOSING.finditer(tail) if start == 0 or found.start() > 0), None)
        if match is None:
            break
        text = text[: start + match.start()].rstrip()
    return text


def _capitalized(text: str) -> str:
    """Return a text with a capital letter first, unless its first word is written as names such as iPhone are."""
    first = text.split(maxsplit=1)[0] if text else ""
    return text[:1].upper() + text[1:] if first.islower() else text
