"""The advice follows from the figures, and says no more than they do."""

from __future__ import annotations

import pytest

import sightwords
from sightwords.comparison.advice import advise
from sightwords.comparison.analysis import Analysis, Effect
from sightwords.comparison.config import CompareConfig
from sightwords.comparison.statistics import Interval


class Figures(Analysis):
    """One network and one condition with given effects over all networks."""

    conditions, models = ("clean",), ("net",)

    @property
    def arms(self):
        return ["baseline", *dict.fromkeys(effect.arm for effect in self.effects)]

    def mean_top1(self, condition, model, arm):
        return 0.5


def advice(tmp_path, options=None, **arms):
    """Return the advice for arms of (mean, low, adjusted p), trained with some options."""
    effects = [
        Effect("clean", "all models", name, Interval(mean, low, 2 * mean - low, 0.9, p), p)
        for name, (mean, low, p) in arms.items()
    ]
    config = CompareConfig("photos", embeddings=["E"], out=tmp_path / "c", models=["net"])
    train = sightwords.TrainConfig("photos", out=tmp_path / "run", model="net", **(options or {}))
    return advise(Figures([], effects, []), config, {("net", name): train for name in ("baseline", *arms)})


def test_a_shown_gain_is_recommended_and_the_largest_of_several(tmp_path):
    found = advice(tmp_path, aligned=(0.02, 0.01, 0.01), other=(0.03, 0.02, 0.01))
    assert found.arm == "other"
    assert "+3.0 points" in found.text


def test_an_interval_above_zero_that_does_not_stand_correction_is_no_recommendation(tmp_path):
    found = advice(tmp_path, aligned=(0.009, 0.002, 0.08))
    assert found.arm == "baseline"
    assert "without text" in found.text


@pytest.mark.parametrize("control", ["shuffled", "random_vectors"])
def test_controls_are_no_recommendation_but_class_names_are(tmp_path, control):
    assert advice(tmp_path, **{control: (0.02, 0.01, 0.001)}).arm == "baseline"
    assert advice(tmp_path, class_name=(0.02, 0.01, 0.001)).arm == "class_name"


def test_the_next_command_trains_what_is_recommended_on_images_as_they_are(tmp_path):
    found = advice(tmp_path, {"label_noise": 0.5, "label_noise_correction": "auto"}, checked=(0.09, 0.08, 0.01))
    assert found.command == f"sightwords --config {tmp_path / 'c' / 'recipe.yaml'} train photos --out RUN"
    assert found.options["label_noise_correction"] == "auto"
    assert not {"label_noise", "train_fraction", "long_tail", "seed", "out"} & found.options.keys()
