from __future__ import annotations

import inspect
import pickle

import pytest

from sightwords import errors
from sightwords.errors import MissingExtraError, SightwordsError, UnknownNameError, UnreadableImageError


def test_every_error_is_in_the_tree_of_the_docstring():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, SightwordsError)]
    assert len(classes) >= 10
    assert all(c.__name__ in errors.__doc__ for c in classes)


def test_an_unknown_name_is_answered_with_the_nearest():
    error = UnknownNameError("model", "resnet5", ["resnet50", "vit", "resnet18"], "Look here.")
    assert str(error) == "Unknown model 'resnet5'. Did you mean: resnet50, resnet18. Look here."
    assert str(UnknownNameError("color", "zzz", ["red", "blue"])) == "Unknown color 'zzz'. Known are: blue, red."
    many = UnknownNameError("thing", "zzz", [f"a{i:02d}" for i in range(30)])
    assert "and 10 more" in str(many)


def test_a_missing_extra_says_how_to_install_it():
    assert 'pip install "sightwords[server]"' in str(MissingExtraError("openai", "server"))


@pytest.mark.parametrize(
    "error", [UnreadableImageError("a.jpg", "cut short"), UnknownNameError("module", "stages.1", ["layer1"])]
)
def test_errors_cross_processes_with_their_message(error):
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))
