"""The wanted language and others, with the model that is installed."""

# ruff: noqa: RUF001

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sightwords.demonstration.description import STYLES, describe_bird
from sightwords.demonstration.record import make_record
from sightwords.demonstration.species import SPECIES
from sightwords.descriptions.quality import language
from sightwords.descriptions.quality.language import LANGUAGES, check_language, is_other_language
from sightwords.errors import ConfigError

USABLE = Path(__file__).with_name("usable.txt").read_text(encoding="utf-8").splitlines()
FOREIGN = [
    line.split("\t") for line in Path(__file__).with_name("foreign.txt").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("text", USABLE)
def test_english_with_foreign_names_and_quotes(text):
    assert not is_other_language(text, "en")


@pytest.mark.parametrize(("code", "text"), FOREIGN)
def test_other_languages(code, text):
    assert is_other_language(text, "en")
    assert not is_other_language(text, code)


@pytest.mark.parametrize("wanted", ["de", "fr", "ru", "ar", "ja", "zh", "ko", "hi"])
def test_english_where_another_is_wanted(wanted):
    assert is_other_language("A small bird with a red crest sits on a bare branch in the snow.", wanted)


@pytest.mark.parametrize(
    ("code", "text"), [line for line in FOREIGN if line[0] in ("de", "fr", "es", "ru", "ja", "zh", "ar")]
)
def test_wanted_and_others_besides_english(code, text):
    for wanted in {"de", "fr", "ru", "ja", "zh", "ar"} - {code}:
        assert is_other_language(text, wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("红鸟", "zh"),
        ("一部 iPhone 15 Pro Max 手机，屏幕上显示 Instagram 的页面。", "zh"),
        ("赤色、心臓、愛情、恋愛、感情、記号、動物、植物、食物、飲物", "ja"),
        ("Apple Store の前に人が立っている。", "ja"),
        ("Samsung Galaxy 휴대전화가 책상 위에 있다.", "ko"),
        ("Автомобиль BMW стоит на парковке.", "ru"),
        ("α + β", "en"),
        ("42", "en"),
        ("🐦🐦", "en"),
        ("Amselhahn", "en"),
        ("", "en"),
    ],
)
def test_too_little_or_mixed(text, wanted):
    assert not is_other_language(text, wanted)


def test_demo_descriptions():
    for seed in range(40):
        record = make_record(seed, sorted(SPECIES)[seed % len(SPECIES)], "train", seed)
        for style in STYLES:
            text = describe_bird(record, style)
            assert not is_other_language(text, "en"), text
            assert not language._model_denies(text, "en"), text


def test_every_language_is_known_to_the_model():
    assert set(LANGUAGES) <= set(language._identifier().nb_classes)


def test_languages_that_cannot_be_told_are_refused():
    check_language("any")
    check_language("de")
    with pytest.raises(ConfigError, match="'english'.*any.*en"):
        check_language("english")


def test_model_is_loaded_only_when_needed():
    """Plain English is accepted without it."""
    code = (
        "import sys\nfrom sightwords.descriptions.quality import Rules, judge\n"
        "judge('A bird sits on the branch with its wings folded.', Rules())\nprint('py3langid' in sys.modules)\n"
        "judge('Ein Vogel sitzt auf einem kahlen Ast.', Rules())\nprint('py3langid' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
