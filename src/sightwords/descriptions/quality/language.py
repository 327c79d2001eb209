"""Whether an answer is in another language than the wanted one: by its script, then by py3langid.

Lui and Baldwin, Cross-domain Feature Selection for Language Identification, IJCNLP 2011; py3langid's own model.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from sightwords.descriptions.quality.quote import without_quotes
from sightwords.descriptions.quality.words import HAN_AND_KANA, count_words
from sightwords.errors import ConfigError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

ANY = "any"
LANGUAGES = {
    "af": "Afrikaans", "ar": "Arabic", "az": "Azerbaijani", "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali",
    "bs": "Bosnian", "ca": "Catalan", "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "ga": "Irish", "gl": "Galician", "gu": "Gujarati", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian",
    "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese",
    "ka": "Georgian", "kk": "Kazakh", "km": "Khmer", "kn": "Kannada", "ko": "Korean", "lo": "Lao", "lt": "Lithuanian",
    "lv": "Latvian", "mk": "Macedonian", "ml": "Malayalam", "mn": "Mongolian", "mr": "Marathi", "ms": "Malay",
    "my": "Burmese", "ne": "Nepali", "nl": "Dutch", "nn": "Norwegian Nynorsk", "no": "Norwegian", "pa": "Punjabi",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "si": "Sinhala", "sk": "Slovak",
    "sl": "Slovenian", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil",
    "te": "Telugu", "th": "Thai", "tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
# Known to py3langid besides; that an answer is in one of these says nothing: species names are Latin, lists are no
# language, and Cantonese is written much as Chinese is.
_NO_EVIDENCE = ("la", "zxx", "eo", "yue")
# Languages so close that short texts of one are taken for the other.
_CLOSE = (
    {"da", "no", "nn"},
    {"bs", "hr", "sr", "sl", "mk"},
    {"cs", "sk"},
    {"id", "ms"},
    {"es", "pt", "gl", "ca"},
    {"nl", "af"},
    {"ru", "uk", "be", "bg"},
    {"hi", "mr", "ne"},
    {"fa", "ur", "ar"},
    {"az", "tr"},
    {"kk", "mn", "uz"},
)
_SCRIPTS = {
    "ar fa ur": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufeff",
    "be bg kk mk mn ru sr uk": "\u0400-\u052f",
    "hi mr ne": "\u0900-\u097f",
    "bn": "\u0980-\u09ff",
    "pa": "\u0a00-\u0a7f",
    "gu": "\u0a80-\u0aff",
    "ta": "\u0b80-\u0bff",
    "te": "\u0c00-\u0c7f",
    "kn": "\u0c80-\u0cff",
    "ml": "\u0d00-\u0d7f",
    "si": "\u0d80-\u0dff",
    "th": "\u0e00-\u0e7f",
    "lo": "\u0e80-\u0eff",
    "my": "\u1000-\u109f",
    "ka": "\u10a0-\u10ff",
    "hy": "\u0530-\u058f",
    "he": "\u0590-\u05ff",
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "km": "\u1780-\u17ff",
    "ko": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "ja zh": HAN_AND_KANA,
}
_LATIN = "A-Za-z\u00aa-\u024f\u1e00-\u1eff"
_ALSO_LATIN = {"sr", "uz", "kk"}
_SHARED = ("ar", "be", "hi")  # scripts, by their first language, that py3langid has to tell apart further
_KANA = re.compile("[\u3041-\u30ff]")
_HAN = re.compile("[\u3400-\u9fff]")

# Words that are frequent in English and rare in other languages: a text full of them needs no model.
_ENGLISH = frozenset({
    "the", "and", "with", "of", "from", "its", "it's", "their", "which", "that", "this", "there", "are", "behind",
    "against", "into", "above", "below", "while", "wearing", "standing", "sitting", "holding", "surrounded", "visible",
    "white", "black", "yellow", "green", "blue", "brown", "gray", "purple", "pink", "small", "large", "bright",
    "dark", "light", "left", "right", "background", "wings", "beak", "tail", "legs", "body", "head",
})  # fmt: skip
_MIN_ENGLISH_SHARE = 0.1

_HEAD_CHARS = 400
_MIN_WORDS = 4
_MIN_LETTERS = 4
_MIN_OWN_SCRIPT = 0.3
_MIN_HAN_WITHOUT_KANA = 12
_HAN_LETTERS = 3  # a Han character says as much as this many letters
# py3langid's probabilities are calibrated for length. Measured on the English names and keywords in CLDR: none of 7,000
# would be rejected, of texts in German, French and Spanish as short as those more than half, of sentences nearly all.
_MAX_OWN_PROBABILITY = 1e-3
_MIN_OTHER_PROBABILITY = 0.3


def check_language(language: str) -> None:
    """Raise ConfigError unless the language is `any` or one that can be told from others."""
    if language != ANY and language not in LANGUAGES:
        raise ConfigError(
            f"--language is {language!r}; it must be any, or one of these ISO 639-1 codes: {', '.join(LANGUAGES)}."
        )


def language_name(language: str) -> str:
    """Return a language's English name."""
    return LANGUAGES[language]


def is_other_language(text: str, wanted: str) -> bool:
    """Return whether a cleaned text is surely not in the wanted language; its first 400 characters are looked at.

    What stands in quotation marks is left out. A text of fewer than four words is judged by its script alone.
    """
    text = without_quotes(text[:_HEAD_CHARS])
    latin = wanted in _ALSO_LATIN or not any(wanted in codes.split() for codes in _SCRIPTS)
    if not (latin and text.isascii()):
        if _is_other_script(text, wanted):
            return True
        if not latin and not _needs_model(wanted):
            return wanted in ("ja", "zh") and _is_other_of_han(text, wanted)
    if wanted == "en" and _is_plainly_english(text):
        return False
    return count_words(text) >= _MIN_WORDS and _model_denies(text, wanted)


def _is_other_script(text: str, wanted: str) -> bool:
    own = len(_script(wanted).findall(text))
    num_han = len(_HAN.findall(text))
    num_letters = sum(map(str.isalpha, text)) + num_han * (_HAN_LETTERS - 1)
    own += num_han * (_HAN_LETTERS - 1) if wanted in ("ja", "zh") else 0
    return num_letters >= _MIN_LETTERS and own < _MIN_OWN_SCRIPT * num_letters


def _is_other_of_han(text: str, wanted: str) -> bool:
    """Return whether a Chinese text has kana as Japanese has, or a Japanese one has none."""
    num_kana, num_han = len(_KANA.findall(text)), len(_HAN.findall(text))
    if wanted == "zh":
        return num_kana >= _MIN_LETTERS and num_kana > 0.3 * (num_kana + num_han)
    return num_kana == 0 and num_han >= _MIN_HAN_WITHOUT_KANA and _model_denies(text, wanted)


def _is_plainly_english(text: str) -> bool:
    words = text.lower().split()
    return sum(word.rstrip(",.") in _ENGLISH for word in words) >= max(1, _MIN_ENGLISH_SHARE * len(words))


def _model_denies(text: str, wanted: str) -> bool:
    ranking = _identifier().rank(text)
    same = {wanted}.union(*(group for group in _CLOSE if wanted in group))
    own = sum(probability for language, probability in ranking if language in same)
    best, probability = ranking[0]
    return own < _MAX_OWN_PROBABILITY and probability >= _MIN_OTHER_PROBABILITY and best not in _NO_EVIDENCE


def _needs_model(wanted: str) -> bool:
    return any(wanted in codes.split() and codes.split()[0] in _SHARED for codes in _SCRIPTS)


@lru_cache
def _script(wanted: str) -> re.Pattern[str]:
    own = "".join(letters for codes, letters in _SCRIPTS.items() if wanted in codes.split())
    return re.compile(f"[{own}{_LATIN if not own or wanted in _ALSO_LATIN else ''}]")


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    """Return the model, loaded at the first call, which takes a second and about 120 MB."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([*LANGUAGES, *_NO_EVIDENCE])
    return identifier
