"""Options are compared by name, also inside parts, and new ones are no change."""

from __future__ import annotations

from sightwords.files import changes


def test_what_differs_is_named():
    before = {"epochs": 3, "align": {"weight": 0.3, "loss": "clip"}, "model_kwargs": {}}
    assert changes(before, before) == ""
    now = {"epochs": 4, "align": {"weight": 0.5, "loss": "clip"}, "model_kwargs": {}}
    assert changes(before, now) == "epochs was 3, is 4; align.weight was 0.3, is 0.5"


def test_options_of_a_later_version_are_no_change_and_missing_ones_are():
    assert changes({"align": {"weight": 0.3}}, {"align": {"weight": 0.3, "new": 1}, "more": 2}) == ""
    assert changes({"align": {"weight": 0.3}}, {"align": {}}) == "align.weight was 0.3, is None"


def test_arguments_that_came_or_went_are_a_change():
    assert changes({"model_kwargs": {}}, {"model_kwargs": {"depth": 2}}) == "model_kwargs was {}, is None"
    assert changes({"model_kwargs": {"depth": 2}}, {"model_kwargs": {}}) == "model_kwargs.depth was 2, is None"
