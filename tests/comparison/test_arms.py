from __future__ import annotations

from pathlib import Path

import pytest

import sightwords
from sightwords.comparison.arms import arm_name, check_arm, with_arm, with_options
from sightwords.errors import ConfigError


@pytest.fixture
def base(tmp_path):
    return sightwords.TrainConfig("images", out=tmp_path, align=sightwords.AlignConfig(weight=0.7))


def test_unknown_arm_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'control'(.|\n)*shuffled: "):
        check_arm("control")
    with pytest.raises(ConfigError, match=r"The arm's file nothing\.yaml does not exist"):
        check_arm("nothing.yaml")


def test_an_objective_as_an_arm(base):
    config = with_arm(base, "aligned:cosine", [Path("E")])
    assert (config.align.loss, config.align.weight, config.embeddings) == ("cosine", 0.7, [Path("E")])
    assert arm_name("aligned:cosine") == "aligned-cosine"


def test_a_file_of_options_as_an_arm(base, tmp_path):
    path = tmp_path / "paper.yaml"
    path.write_text("align: {weight: 0.3, learn-temperature: true}\nembeddings: other\n")
    config = with_arm(base, str(path), [Path("E")])
    assert (config.align.weight, config.align.learn_temperature, config.align.loss) == (0.3, True, "clip")
    assert config.embeddings == [Path("other")]
    assert arm_name(str(path)) == "paper"


def test_what_an_arm_or_a_network_may_not_set_is_named(base, tmp_path):
    path = tmp_path / "longer.yaml"
    path.write_text("epochs: 300\n")
    with pytest.raises(ConfigError, match="longer.yaml sets epochs"):
        with_arm(base, str(path), [Path("E")])
    with pytest.raises(ConfigError, match=r"vit.yaml: .*'depht'.* Options are accumulate, align"):
        with_options(base, {"depht": 3}, "vit.yaml")
    with pytest.raises(ConfigError, match="--lr is -1"):
        with_options(base, {"lr": -1}, "vit.yaml")
