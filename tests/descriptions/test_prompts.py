from __future__ import annotations

from pathlib import Path

import pytest

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.prompts import CLASS_NAME, PROMPTS, choose_prompt, file_prompt, named_prompt
from sightwords.errors import ConfigError, UnknownNameError


def test_plain_is_the_prompt_of_the_paper():
    assert named_prompt("plain").text("tench") == "Describe this image in detail."


def test_short_carries_its_word_limit_and_each_limit_is_a_template_of_its_own():
    assert "at most 12 words" in named_prompt("short", 12).template
    assert named_prompt("short", 12).template != named_prompt("short", 20).template


def test_which_prompts_name_the_class():
    assert [name for name in PROMPTS if named_prompt(name).names_class] == ["class", "contrast", "class_features"]
    assert [name for name in PROMPTS if named_prompt(name).per_class] == ["class_features"]
    text = named_prompt("class").text("great gray owl")
    assert "great gray owl" in text
    assert "{" not in text


@pytest.mark.parametrize("word", ["shape", "color", "texture", "parts", "setting"])
def test_attributes_asks_for_each_attribute(word):
    assert word in named_prompt("attributes").template


def test_an_unknown_prompt_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean: plain.*--prompt-file"):
        named_prompt("plian")


def test_a_file_is_a_prompt_named_by_its_stem(tmp_path):
    path = tmp_path / "beaks.txt"
    path.write_text("How does the beak of this {class_name} look?\n", encoding="utf-8")
    prompt = file_prompt(path)
    assert (prompt.name, prompt.version) == ("beaks", 1)
    assert prompt.text("heron") == "How does the beak of this heron look?"


@pytest.mark.parametrize(
    ("text", "message"), [("  \n", "is empty"), ("What is this {classname}?", r"placeholder \{classname\}")]
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path, text, message):
    path = tmp_path / "p.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        file_prompt(path)


def test_braces_that_are_no_placeholder_are_text(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text('Answer as JSON: {"color": "..."}')
    assert file_prompt(path).text("heron") == 'Answer as JSON: {"color": "..."}'


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.txt"):
        file_prompt(tmp_path / "nowhere.txt")


def config(**options) -> DescribeConfig:
    return DescribeConfig("photos", out=Path("d.db"), **options)


def test_the_prompt_of_a_configuration(tmp_path):
    (tmp_path / "mine.txt").write_text("How does a {class_name} look?")
    assert choose_prompt(config(prompt="short", word_limit=7)) == named_prompt("short", 7)
    assert choose_prompt(config(prompt_file=tmp_path / "mine.txt", per_class=True)).per_class
    near = choose_prompt(config(prompt="contrast", confusions=tmp_path), {"cat": ["fox"]})
    assert "mistaken for: fox." in near.text("cat")
    assert choose_prompt(config(describer="class_name")) == CLASS_NAME
    with pytest.raises(ConfigError, match="takes no prompt"):
        choose_prompt(config(describer="class_name", prompt="short"))


def test_a_prompt_for_each_class_must_name_it(tmp_path):
    (tmp_path / "mine.txt").write_text("What is this?")
    with pytest.raises(ConfigError, match=r"does not name the class. With --per-class it needs \{class_name\}"):
        file_prompt(tmp_path / "mine.txt", per_class=True)
