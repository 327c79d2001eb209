"""What people may rely on: names of the Python API, commands, and the fields of each configuration."""

from __future__ import annotations

from dataclasses import fields

import pytest

import sightwords
from sightwords import cli

FUNCTIONS = {
    "audit": "AuditConfig",
    "browse": "BrowseConfig",
    "compare": "CompareConfig",
    "demo": "DemoConfig",
    "describe": "DescribeConfig",
    "embed": "EmbedConfig",
    "evaluate": "EvaluateConfig",
    "explain": "ExplainConfig",
    "export": "ExportConfig",
    "import_descriptions": "ImportConfig",
    "label": "LabelConfig",
    "merge": "MergeConfig",
    "predict": "PredictConfig",
    "search": "SearchConfig",
    "train": "TrainConfig",
}
OTHERS = """
    AlignConfig AugmentConfig DescriptionSet EmbeddingSet FeatureHook RunFolder SightwordsError TextVectors
    TrainingOptions __version__ align image_keys
""".split()  # noqa: SIM905
# options that users meet everywhere have one spelling (`image_size` is --image-size)
COMMON = set("batch_size device epochs image_size limit lr optimizer precision resume seed workers".split())  # noqa: SIM905


def test_the_names_are_these_and_no_others():
    assert set(sightwords.__all__) == {*FUNCTIONS, *FUNCTIONS.values(), *OTHERS}
    assert len(sightwords.__all__) == len(set(sightwords.__all__))
    assert all(getattr(sightwords, name) is not None for name in sightwords.__all__)
    with pytest.raises(AttributeError, match=r"no attribute 'trian'; it has: "):
        sightwords.trian  # noqa: B018


def test_every_command_is_a_function_with_its_configuration():
    assert {cli.FUNCTIONS.get(name, name): f"{name.title()}Config" for name in cli.COMMANDS} == FUNCTIONS


@pytest.mark.parametrize("function", FUNCTIONS)
def test_names_lead_to_what_they_say(function):
    assert callable(getattr(sightwords, function))
    config = getattr(sightwords, FUNCTIONS[function])
    assert config.__name__ == FUNCTIONS[function]
    assert all(field.name.islower() for field in fields(config))


def test_training_has_the_common_options():
    assert {field.name for field in fields(sightwords.TrainConfig)} >= COMMON | {"embeddings", "model", "out", "align"}
