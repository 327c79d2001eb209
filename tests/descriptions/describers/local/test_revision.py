from __future__ import annotations

import os

import pytest

from sightwords.descriptions.describers.hf import folder_revision


@pytest.fixture
def model(tmp_path):
    """A folder with a configuration and 40 MB of weights, which is above what is read whole."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llava"}')
    (folder / "model.safetensors").write_bytes(os.urandom(2**20) * 40)
    return folder


def test_moving_the_folder_and_notes_in_it_change_nothing(model, tmp_path):
    before = folder_revision(model)
    (model / "README.md").write_text("notes")
    (model / ".cache").mkdir()
    moved = model.rename(tmp_path / "elsewhere")
    assert folder_revision(moved) == before
    assert len(before) == 16


def test_other_settings_or_weights_of_the_same_size_are_another_revision(model):
    before = folder_revision(model)
    weights = model / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(os.urandom(2**20) * 40)
    trained = folder_revision(model)
    (model / "config.json").write_text('{"model_type": "llama"}')
    assert weights.stat().st_size == size
    assert len({before, trained, folder_revision(model)}) == 3
