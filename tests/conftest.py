"""What all tests share: an own cache folder, and small drawn data sets.

Heavy libraries are imported where they are needed, for the process that hands out the tests reads this file, too.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may wait for a network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for processes that tests start: several tests run at once
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # started in the background: children would not hear Ctrl-C either
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

from sightwords import cli

_numbers = itertools.count()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a file in one process, for they share what they make, and all of Ray, which share a cluster."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "ray" if "cluster" in file else file

    return Scheduling(config, log)


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # what was imported stays: collections of a test's garbage need not look through it each time


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Keep the key cache of tests away from the user's."""
    monkeypatch.setenv("SIGHTWORDS_CACHE", str(tmp_path_factory.getbasetemp() / "caches" / str(next(_numbers))))


@pytest.fixture
def images(tmp_path):
    """A folder of three classes, 8 training and 4 validation images each."""
    from support.images import write_class_folders

    return write_class_folders(tmp_path / "images", num_train=8, num_val=4)


@pytest.fixture
def call(monkeypatch, capfd):
    """Run the command line with these arguments, and return all that it prints."""
    monkeypatch.setenv("COLUMNS", "200")  # so that no message is wrapped
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # is as it was afterwards, and so is what --config sets
    monkeypatch.setattr(cli.app, "config", cli.app.config)

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["sightwords", *map(str, arguments)])
        try:
            cli.main()
            found = 0
        except SystemExit as end:
            found = end.code or 0
        shown = "".join(capfd.readouterr())
        assert found == code, shown
        assert "Traceback" not in shown
        return shown

    return run


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    """A folder with an open_clip model named sightwords-tiny: `model.pt`, and `local` in open_clip's own layout."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    (folder / "sightwords-tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "sightwords-tiny.json")
    torch.manual_seed(0)
    model = open_clip.create_model("sightwords-tiny")
    torch.save(model.state_dict(), folder / "model.pt")
    local = folder / "local"
    local.mkdir()
    (local / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.save(model.state_dict(), local / "open_clip_pytorch_model.bin")
    return folder


@pytest.fixture(scope="session")
def build_st() -> Callable[..., Path]:
    """The function that saves a sentence-transformers model of 32 numbers to a folder."""
    from support.tiny_st import build_st

    return build_st


@pytest.fixture(scope="session")
def tiny_st(build_st, tmp_path_factory) -> Path:
    """A sentence-transformers model with a limit of 16 tokens."""
    return build_st(tmp_path_factory.mktemp("st"))


@pytest.fixture(scope="session")
def aligned(tiny_st, tmp_path_factory):
    """A tiny run that was taught by text, an `AlignedRun`; tests must not change it."""
    from support.aligned_run import make_aligned_run

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTWORDS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return make_aligned_run(tmp_path_factory.mktemp("aligned"), tiny_st)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A run exported in two formats, an `Exported`; tests must not change it."""
    from support.exported import export_all

    return export_all(tmp_path_factory.mktemp("exported"))
