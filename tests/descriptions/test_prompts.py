from __future__ import annotations

from pathlib import Path

import pytest

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.prompts import (
    CLASS_NAME,
    PROMPTS,
    choose_prompt,
    file_prompt,
    named_prompt,
    read_confusions,
)
from sightwords.errors import ConfigError, UnknownNameError


def test_built_in_prompts_name_what_they_promise():
    assert named_prompt("plain").text("tench") == "Describe this image in detail."  # the prompt of the paper
    assert "at most 12 words" in named_prompt("short", 12).template  # a template of its own for each limit
    assert [name for name in PROMPTS if named_prompt(name).names_class] == ["class", "contrast", "class_features"]
    assert [name for name in PROMPTS if named_prompt(name).per_class] == ["class_features"]
    text = named_prompt("class").text("great gray owl")
    assert "great gray owl" in text
    assert "{" not in text
    assert all(word in named_prompt("attributes").template for word in ("shape", "color", "texture", "parts"))


def test_an_unknown_prompt_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"plain.*--prompt-file"):
        named_prompt("plian")


def test_a_file_is_a_prompt_named_by_its_stem(tmp_path):
    path = tmp_path / "beaks.txt"
    path.write_text('How does the beak of this {class_name} look? As JSON: {"color": "..."}\n', encoding="utf-8")
    prompt = file_prompt(path)
    assert (prompt.name, prompt.version) == ("beaks", 1)
    assert prompt.text("heron") == 'How does the beak of this heron look? As JSON: {"color": "..."}'


@pytest.mark.parametrize(
    ("text", "per_class", "message"),
    [
        ("  \n", False, "empty"),
        ("What is this {classname}?", False, r"\{classname\}"),
        ("What is this?", True, r"\{class_name\}"),
        (None, False, r"p\.txt"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path, text, per_class, message):
    path = tmp_path / "p.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        file_prompt(path, per_class)


def config(**options) -> DescribeConfig:
    return DescribeConfig("photos", out=Path("d.db"), **options)


def test_the_prompt_of_a_configuration(tmp_path):
    (tmp_path / "mine.txt").write_text("How does a {class_name} look?")
    assert choose_prompt(config(prompt="short", word_limit=7), [], []) == named_prompt("short", 7)
    assert choose_prompt(config(prompt_file=tmp_path / "mine.txt", per_class=True), [], []).per_class
    assert choose_prompt(config(describer="class_name"), [], []) == CLASS_NAME
    with pytest.raises(ConfigError, match="takes no prompt"):
        choose_prompt(config(describer="class_name", prompt="short"), [], [])


IDS, NAMES = ["n1", "n2", "n3", "n4", "n5", "n6"], ["cat", "dog", "fox", "owl", "elk", "yak"]
MATRIX = """true \\ predicted,n1,n2,n3,n4,n5,n6
n1,9,1,0,0,0,0
n2,0,5,4,1,0,1
n3,2,0,8,0,0,0
n4,0,0,0,10,0,0
n5,0,0,0,0,3,0
n6,0,1,0,0,0,2
"""


@pytest.mark.parametrize("place", ["run/evaluation", "run"])
def test_confusions_either_way_are_ranked_and_three_named(tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "confusion.csv").write_text(MATRIX)
    assert read_confusions(tmp_path / "run", IDS, NAMES) == {
        "cat": ["fox", "dog"],  # 2 foxes taken for cats, 1 cat for a dog
        "dog": ["fox", "yak", "cat"],  # 4, 1 + 1, 1; the owl, 1 too, comes after
        "fox": ["dog", "cat"],
        "owl": ["dog"],
        "yak": ["dog"],
    }  # nothing is taken for an elk


def test_what_is_wrong_with_a_confusion_matrix_is_named(tmp_path):
    with pytest.raises(ConfigError, match="sightwords evaluate"):
        read_confusions(tmp_path, IDS, NAMES)
    (tmp_path / "confusion.csv").write_text(MATRIX)
    with pytest.raises(ConfigError, match="6 classes .* 5; differing: n6"):
        read_confusions(tmp_path, IDS[:5], NAMES[:5])
    (tmp_path / "confusion.csv").write_text(MATRIX.replace("10", "ten"))
    with pytest.raises(ConfigError, match="no confusion matrix"):
        read_confusions(tmp_path, IDS, NAMES)
