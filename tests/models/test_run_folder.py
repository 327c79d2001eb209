from __future__ import annotations

import pytest
import torch

from sightwords.errors import ArtifactError
from sightwords.models.run_folder import NetworkInfo, RunFolder

INFO = NetworkInfo("timm:resnet18", {}, {"num_classes": 2}, 2, ["a", "b"], ["A", "B"], False, 64, "bicubic", 0.9,
                   (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))  # fmt: skip


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.start({"epochs": 3, "align": {"loss": "clip"}}, INFO)
    return folder


def test_configuration_and_network_come_back(run):
    assert run.exists()
    assert run.config() == {"epochs": 3, "align": {"loss": "clip"}}
    assert run.network() == INFO


def test_metrics_survive_a_line_cut_short_and_can_be_taken_back(run):
    for step in (10, 20, 30):
        run.log({"step": step, "loss": 1 / step})
    with run.metrics_path.open("a") as file:
        file.write('{"step": 40, "lo')
    assert [record["step"] for record in run.metrics()] == [10, 20, 30]
    run.truncate_metrics(20)
    assert [record["step"] for record in run.metrics()] == [10, 20]
    assert '"lo' not in run.metrics_path.read_text().replace('"loss"', "")


def test_the_newest_checkpoint_counts_and_old_ones_go(run):
    assert run.load_checkpoint() is None
    for step in (5, 100, 20):
        run.save_checkpoint({"step": step, "weight": torch.full((2,), float(step))}, step)
    assert run.load_checkpoint()["step"] == 100
    assert len(list((run.folder / "checkpoints").iterdir())) == 2


def test_a_damaged_checkpoint_is_refused(run):
    run.save_checkpoint({"step": 5}, 5)
    path = next((run.folder / "checkpoints").iterdir())
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtifactError, match="is damaged"):
        run.load_checkpoint()


def test_weights_are_plain_and_shared_tensors_do_not_fail(run):
    weight = torch.rand(3, 4)
    run.save_weights({"a": weight, "b": weight, "c": weight.t()})
    loaded = run.load_weights()
    assert torch.equal(loaded["a"], weight)
    assert torch.equal(loaded["c"], weight.t())
    run.weights_path.write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="is damaged"):
        run.load_weights()
