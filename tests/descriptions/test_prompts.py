from __future__ import annotations

from pathlib import Path

import pytest

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.prompts import CLASS_NAME, PROMPTS, choose_prompt, file_prompt, read_confusions
from sightwords.errors import ConfigError, UnknownNameError


def test_built_in_prompts_name_what_they_promise():
    assert PROMPTS["plain"].text("tench") == "Describe this image in detail."  # the prompt of the paper
    assert [name for name, prompt in PROMPTS.items() if prompt.names_class] == ["class", "contrast", "class_features"]
    assert [name for name, prompt in PROMPTS.items() if prompt.per_class] == ["class_features"]
    assert "great gray owl" in PROMPTS["class"].text("great gray owl")
    assert not [name for name, prompt in PROMPTS.items() if "{" in prompt.text("owl")]


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


def test_the_prompt_of_a_configuration(tmp_path):
    def chosen(**options):
        return choose_prompt(DescribeConfig("photos", out=Path("d.db"), **options), [], [])

    (tmp_path / "mine.txt").write_text("How does a {class_name} look?")
    assert chosen(prompt="short") == PROMPTS["short"]
    assert chosen(prompt_file=tmp_path / "mine.txt", per_class=True).per_class
    assert chosen(describer="class_name") == CLASS_NAME
    with pytest.raises(ConfigError, match="takes no prompt"):
        chosen(describer="class_name", prompt="short")
    with pytest.raises(UnknownNameError, match=r"plain.*--prompt-file"):
        chosen(prompt="plian")


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


@pytest.mark.parametrize(
    ("matrix", "num_classes", "message"),
    [
        (None, 6, "sightwords evaluate"),
        (MATRIX, 5, "6 classes .* 5; differing: n6"),
        (MATRIX.replace("10", "ten"), 6, "not a confusion matrix"),
    ],
)
def test_what_is_wrong_with_a_confusion_matrix_is_named(tmp_path, matrix, num_classes, message):
    if matrix is not None:
        (tmp_path / "confusion.csv").write_text(matrix)
    with pytest.raises(ConfigError, match=message):
        read_confusions(tmp_path, IDS[:num_classes], NAMES[:num_classes])
