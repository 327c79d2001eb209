"""Whether a description contradicts the label that its prompt named."""

# ruff: noqa: RUF001

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

from sightwords.descriptions.quality.quote import without_quotes

_HEAD_CHARS = 4000
_MAX_OTHER_WORDS = 6
_NUM_CACHED_NAMES = 65_536  # all names of the largest usual data sets

# Stand for the class name in the text: private-use characters, which no text has.
_ONE, _MANY = "\ue000", "\ue001"
_OWN = f"[{_ONE}{_MANY}]"

_A = r"(?:(?:a|an|any|the) )?"
# A noun after the name would make another thing of it (`not a cardinal feather`), and `not a cardinal in breeding
# plumage` is a cardinal: only these may follow.
_DONE_WORD = (
    r" (?:but|because|as|since|and|or|though|although|however|it|this|instead|rather|at all|here|is|are|due|based"
    r"|after all)\b"
)
_DONE = rf"(?=\Z|[.,;:!?)\]—–]| [—–-]|{_DONE_WORD})"
_MEDIUM = r"(?:image|picture|photo|photograph|scene)"
_NOUN = (
    rf"(?:{_MEDIUM}|subject|object|bird|animal|creature|plant|flower|fish|insect|dog|cat|vehicle|car|item|food|dish"
    r"|building|person|thing)"
)
_SUBJECT = (
    rf"(?:this|it|(?:\A|(?<=[.!?] ))that|(?:the|this) (?:main |primary |depicted |pictured )?{_NOUN}"
    rf"(?: (?:in|shown in|depicted in) (?:the|this) {_MEDIUM}| shown| depicted| pictured| here)?)"
)
_SURELY = r"(?:(?:actually|really|in fact|clearly|definitely|certainly|likely|most likely|probably|obviously) )?"
_APPEAR = r"(?:appear|seem|look)"
_SHOW = r"(?:show|depict|contain|feature|include|display|resemble|look like|match|portray)"
_NOT_ELSEWHERE = (
    r"(?! (?:\w+ )?(?:in|on|at) the (?:back|left|right|fore|top|bottom|dist|corner|other)| behind| nearby| beside)"
)

_IN_IMAGE = rf"in (?:the|this) {_MEDIUM}"
_DONE_HERE = rf"(?=[.,;!]|\Z| (?:visible|present|shown|depicted|to be seen|here|{_IN_IMAGE}){_NOT_ELSEWHERE})"
_DENIALS = (
    # this is not a cardinal, it cannot be one, this is no cardinal
    rf"\b{_SUBJECT}(?: is| was|'s| are)? {_SURELY}(?:not|isn't|aren't|wasn't) {_SURELY}(?:of )?{_A}{_OWN}{_DONE}",
    rf"\b{_SUBJECT} (?:cannot|can't|could not|couldn't) be {_A}{_OWN}{_DONE}",
    rf"\b{_SUBJECT}(?: is| was|'s) {_SURELY}no {_ONE}{_DONE}",
    # the image does not appear to be a cardinal, does not show one
    rf"\b{_SUBJECT} (?:does not|doesn't|do not|don't|did not) {_SURELY}(?:{_APPEAR} to (?:be|{_SHOW})|{_SHOW}) "
    rf"(?:of )?{_A}{_OWN}{_DONE}",
    # no cardinal is visible, there is none, I do not see one
    rf"\bno {_OWN} (?:is|are|was|can be) (?:\w+ )?(?:visible|seen|present|shown|depicted|pictured|{_IN_IMAGE})"
    rf"{_NOT_ELSEWHERE}",
    rf"\bthere (?:is|are|'s|seems to be|appears to be) no (?:visible )?{_OWN}{_DONE_HERE}",
    rf"\bthere (?:isn't|aren't|(?:doesn't|does not) (?:appear|seem) to be) {_A}{_OWN}{_DONE_HERE}",
    rf"\bi (?:do not|don't|cannot|can't) (?:actually )?see {_A}{_OWN}(?:{_DONE_HERE}|{_DONE})",
    rf"\bi see no {_OWN}{_DONE_HERE}",
    # rather than a cardinal, this is a blue jay; this is a blue jay, not a cardinal
    rf"(?:\A|(?<=[.!?] ))(?:rather than|instead of) (?:being |showing |depicting )?{_A}{_OWN},? {_SUBJECT} ",
    r"\b(?:is|are|shows|depicts|(?:appears|seems) to be|looks like) (?:an?|the) (?:[\w'-]+ ){0,6}?[\w'-]+,? "
    rf"(?:rather than|instead of|and not|but not|not) (?:a|an|the) {_OWN}{_DONE}",
)
_DENIAL = re.compile("|".join(_DENIALS))
_MISLABELED = r"(?:mislabel+ed|incorrectly label+ed|wrongly label+ed|misclassified|incorrectly classified)"
_WRONG_LABEL = re.compile(
    rf"\b(?:class|label|classification)(?: name)?(?: {_OWN})? (?:(?:seems|appears) to be|is|seems|appears) "
    r"(?:wrong|incorrect|mistaken|inaccurate|not correct|not accurate)\b"
    r"|\b(?:does not|doesn't) match the (?:\w+ )?(?:class|label)\b"
    rf"|\b(?:is|was|been|seems|appears) (?:to be |to have been )?{_MISLABELED}(?: as {_A}{_OWN})?(?=[.,;!]|\Z)"
)
# A name after these is talked about, and not found in the image.
_TALK = re.compile(
    r"(?:\b(?:like|unlike|than|resembl\w+|similar to|typical(?:ly)?(?: (?:of|for))?|differ\w* from|distinct from|called"
    r"|(?:confused|compared|associated) (?:with|to)|(?:mistaken|taken) for|(?:label+ed|described|classified|listed) as"
    r"|(?:features|characteristics|traits|colou?rs?|plumage|markings|class|label|name|category|description) of"
    r"|class|label|name|category|not|no|any|instead of|identify|confirm that this is|expect\w*(?: to see| of)?"
    r"|(?:should|would|supposed to|said to|expected to) be|belongs? to)|[:]) "
    rf"{_A}(?:class |category )?(?:typical |common |real |actual |visible )?\Z"
)
_WORDS = rf"[\w'-]+(?: [\w'-]+){{0,{_MAX_OTHER_WORDS - 1}}}"
_IS_OTHER = re.compile(
    rf"(?:\A|(?<=[.!?;,] ))(?:instead,? |in fact,? |actually,? )?{_SUBJECT}(?:'s| is| are) {_SURELY}"
    rf"(?:an? |the )?(?P<is>{_WORDS})"
    rf"|\b{_SUBJECT} {_SURELY}(?:appears to be|seems to be|looks to be|looks like|looks more like|must be) "
    rf"(?:an? |the )?(?P<like>{_WORDS})"
)
_AFTER_OTHER = re.compile(
    r"\s*(?:\Z|[.,;:!?)]|[—–-] |(?:but|and|with|perched|sitting|standing|in|on|that|which|because|as|since|rather|not"
    r"|at|against|flying|swimming|resting|lying|parked|walking)\b)"
)
# One of these is in every denial; looking for them costs little.
_DENIAL_SIGNS = ("not ", "n't ", "no ", "rather than", "instead of", "label", "class")


def contradicts_label(text: str, class_name: str, other_names: Collection[str] = ()) -> bool:
    """Return whether a cleaned text says that it shows no instance of its class, or one of another class.

    It does if it denies the class's whole name (`this is not a cardinal`) and nowhere uses it for what is seen; or if
    it says that this is, appears to be or looks like another class of the data set and has no word of its own class's
    name. The grammar is English.

    Args:
        text: the cleaned text; what stands in quotation marks is left out.
        class_name: readable name of the class; synonyms separated by commas.
        other_names: readable names of the other classes, likewise; only gone through where the second case may hold.
    """
    if not _synonyms(class_name):
        return False
    plain = without_quotes(text[:_HEAD_CHARS]).replace("’", "'").lower()
    if any(sign in plain for sign in _DENIAL_SIGNS):
        marked = _name_pattern(class_name).sub(lambda match: _ONE if match["one"] else _MANY, plain)
        if _WRONG_LABEL.search(marked) or _denies(marked):
            return True
    return _is_other(plain, class_name, other_names)


def _denies(marked: str) -> bool:
    """Return whether the name, marked in the text, is denied and not used besides for what is seen."""
    denied = [match.span() for match in _DENIAL.finditer(marked)]
    if not denied:
        return False
    for match in re.finditer(_ONE, marked):
        inside = any(start <= match.start() < end for start, end in denied)
        if not inside and not _TALK.search(marked[max(0, match.start() - 40) : match.start()]):
            return False
    return True


def _is_other(plain: str, class_name: str, other_names: Collection[str]) -> bool:
    """Return whether the text says that it is another class and has no word of its own class's name."""
    if not other_names or any(stem in plain for stem in _own_stems(class_name)):
        return False
    claims = set(_claims(plain))
    return bool(claims) and not all(claims.isdisjoint(_stemmed(names)) for names in other_names)


@lru_cache(maxsize=_NUM_CACHED_NAMES)
def _stemmed(class_name: str) -> tuple[str, ...]:
    """Return the synonyms of a class name, the ending of the plural taken off every word."""
    return tuple(" ".join(map(_stem, name.split())) for name in _synonyms(class_name))


@lru_cache(maxsize=4096)
def _own_stems(class_name: str) -> tuple[str, ...]:
    stems = (_stem(word) for name in _synonyms(class_name) for word in name.split())
    return tuple(dict.fromkeys(stem for stem in stems if len(stem) > 1))


def _claims(plain: str) -> Iterator[str]:
    """Yield the stems of what the text says that it shows: every start of the words that could be a whole name."""
    for match in _IS_OTHER.finditer(plain):
        group = "is" if match["is"] else "like"
        words = list(re.finditer(r"[\w']+", match[group]))
        for number, word in enumerate(words, 1):
            end = match.start(group) + word.end()
            if _AFTER_OTHER.match(plain, end):
                claimed = [_stem(part[0]) for part in words[:number]]
                yield from (" ".join(claimed[first:]) for first in range(min(2, number)))


@lru_cache(maxsize=4096)
def _name_pattern(class_name: str) -> re.Pattern[str]:
    """Return a pattern of a class's name and its synonyms, in singular and plural."""
    names = sorted(_synonyms(class_name), key=len, reverse=True)
    singular = "|".join(form for name in names for form in _forms(name)[0])
    plural = "|".join(form for name in names for form in _forms(name)[1])
    return re.compile(rf"(?<!\w)(?:(?P<one>{singular})|{plural})(?![\w'])")


@lru_cache(maxsize=_NUM_CACHED_NAMES)
def _synonyms(class_name: str) -> tuple[str, ...]:
    """Return the names that a readable class name holds, in lower case, words separated by one space."""
    parts = re.split(r"[,;/]", re.sub(r"\([^()]*\)", " ", class_name.lower().replace("’", "'")))
    plain = (" ".join(re.findall(r"[\w']+", re.sub(r"^[\d\W_]+", "", part).replace("_", " "))) for part in parts)
    return tuple(dict.fromkeys(name for name in plain if len(name) > 1))


def _forms(name: str) -> tuple[list[str], list[str]]:
    """Return patterns of a name in singular and in plural; its words may be joined by a space, a hyphen or nothing."""
    *first, last = name.split()
    singular = {last, _stem(last)}
    plural = {f"{one}{ending}" for one in singular for ending in ("s", "es")} | {f"{last[:-1]}ies"}
    ahead = "".join(re.escape(word) + "[ -]?" for word in first)
    return [ahead + re.escape(one) for one in sorted(singular)], [ahead + re.escape(one) for one in sorted(plural)]


def _stem(word: str) -> str:
    """Return a word in lower case without the ending of its plural."""
    word = word.lower().removesuffix("'s")
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
