"""The examples run as a user would run them: both losses fall, and what is saved is the stock network."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example and return the losses and alignment losses that it printed."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def run(name: str) -> tuple[list[float], list[float]]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        shown = re.findall(r"loss ([0-9.]+) alignment ([0-9.]+)", capsys.readouterr().out)
        return [float(loss) for loss, _ in shown], [float(alignment) for _, alignment in shown]

    return run


def assert_fall(losses: list[float], alignments: list[float]) -> None:
    for values in (losses, alignments):
        assert len(values) > 4
        assert sum(values[-2:]) < 0.9 * sum(values[:2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "lightning_module", "timm_task"])
def test_loops_with_a_network_of_timm(run, name, tmp_path):
    assert_fall(*run(name))
    model = timm.create_model("test_resnet", num_classes=3)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)


@pytest.mark.slow
def test_the_hugging_face_trainer(run, tmp_path):
    from transformers import AutoModelForImageClassification

    assert_fall(*run("hf_trainer"))
    model, report = AutoModelForImageClassification.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 3)


@pytest.mark.slow
def test_a_detector(run, tmp_path):
    assert_fall(*run("detector"))
    detector = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=4)
    detector.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
