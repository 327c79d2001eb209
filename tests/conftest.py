"""What all tests share: an own cache folder, and small drawn data sets."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may wait for a network

import pytest
import torch

from support.images import write_class_folders

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Keep the key cache of tests away from the user's."""
    monkeypatch.setenv("SIGHTWORDS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def images(tmp_path):
    """A folder of three classes, 8 training and 4 validation images each."""
    return write_class_folders(tmp_path / "images", num_train=8, num_val=4)
