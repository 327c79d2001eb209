"""Which classes a network takes for one another."""

from __future__ import annotations

import pytest

from sightwords.descriptions.prompts import read_confusions
from sightwords.errors import ConfigError

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
def test_mistakes_either_way_are_ranked_and_three_named(tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "confusion.csv").write_text(MATRIX)
    assert read_confusions(tmp_path / "run", IDS, NAMES) == {
        "cat": ["fox", "dog"],  # 2 foxes taken for cats, 1 cat for a dog
        "dog": ["fox", "yak", "cat"],  # 4, 1 + 1, 1; the owl, 1 too, comes after
        "fox": ["dog", "cat"],
        "owl": ["dog"],
        "yak": ["dog"],
    }  # nothing is taken for an elk


def test_what_is_wrong_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no confusion matrix. Make it with: sightwords evaluate"):
        read_confusions(tmp_path, IDS, NAMES)
    (tmp_path / "confusion.csv").write_text(MATRIX)
    with pytest.raises(ConfigError, match="has 6 classes and the images have 5; differing: n6"):
        read_confusions(tmp_path, IDS[:5], NAMES[:5])
    (tmp_path / "confusion.csv").write_text(MATRIX.replace("10", "ten"))
    with pytest.raises(ConfigError, match="is no confusion matrix"):
        read_confusions(tmp_path, IDS, NAMES)
