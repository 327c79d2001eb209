"""The examples run as a user would run them: both losses fall, and what is saved is the stock network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, folder: Path) -> tuple[list[float], list[float]]:
    """Return the losses and alignment losses that an example printed."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=env, check=False)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"loss ([0-9.]+) alignment ([0-9.]+)", done.stdout)
    return [float(loss) for loss, _ in shown], [float(alignment) for _, alignment in shown]


def assert_fall(losses: list[float], alignments: list[float]) -> None:
    for values in (losses, alignments):
        assert len(values) > 4
        assert sum(values[-2:]) < 0.9 * sum(values[:2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "lightning_module", "timm_task"])
def test_loops_with_a_network_of_timm(name, tmp_path):
    assert_fall(*run(name, tmp_path))
    model = timm.create_model("test_resnet", num_classes=3)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)


@pytest.mark.slow
def test_the_hugging_face_trainer(tmp_path):
    from transformers import AutoModelForImageClassification

    assert_fall(*run("hf_trainer", tmp_path))
    model, report = AutoModelForImageClassification.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 3)


@pytest.mark.slow
def test_a_detector(tmp_path):
    assert_fall(*run("detector", tmp_path))
    detector = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=4)
    detector.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
