"""Which device and which model: named once for every command."""

from __future__ import annotations

import os

import pytest
import torch

from sightwords.errors import ConfigError
from sightwords.hub import choose_device, folder_hash

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "quantum"])
def test_a_device_that_is_not_there_is_refused(name):
    assert choose_device("cpu") == CPU
    with pytest.raises(ConfigError, match=f"--device {name}"):
        choose_device(name)


def test_under_torchrun_each_process_takes_the_gpu_of_its_rank(monkeypatch):
    made = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda *size, device: made.append(device))  # no such device here
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert choose_device("auto") == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:1")
    assert choose_device("cuda:0") == torch.device("cuda:0")
    assert choose_device("cpu") == CPU
    assert made == ["cuda", "cuda:1", "cuda:1", "cuda:0", "cpu"]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="--nproc-per-node"):
        choose_device("auto")


def test_without_a_gpu_every_process_of_torchrun_takes_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == CPU


def write_weights(folder):
    """Write 40 MB, which are not read whole."""
    with (folder / "model.safetensors").open("wb") as file:
        file.write(os.urandom(2**20))
        file.truncate(40 * 2**20)


def test_the_hash_of_a_model_follows_its_contents_and_not_its_place(tmp_path):
    model = tmp_path / "model"
    (model / "pooling").mkdir(parents=True)
    (model / "pooling" / "config.json").write_text('{"mode": "mean"}')
    write_weights(model)
    first = folder_hash(model)
    (model / "README.md").write_text("notes")
    (model / ".cache").mkdir()
    (model / ".cache" / "config.json").write_text("{}")
    model = model.rename(tmp_path / "elsewhere")
    assert folder_hash(model) == first
    write_weights(model)
    trained = folder_hash(model)
    (model / "pooling" / "config.json").write_text('{"mode": "last"}')
    assert len({first, trained, folder_hash(model)}) == 3
