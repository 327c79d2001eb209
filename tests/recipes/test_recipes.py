"""Every recipe is built and takes two steps on drawn data at small size; the authors' numbers are the authors'."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import yaml

from sightwords.cli import app
from sightwords.images.config import AugmentConfig, ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.models.run_folder import RunFolder
from sightwords.training.config import AlignConfig, TrainConfig
from sightwords.training.run import train as run
from support.texts import write_vectors

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
# the same family, small
SMALL = {
    "resnet50": {"model": "resnet10t", "model_kwargs": {}},
    "resnet18": {"model": "resnet10t", "model_kwargs": {}},
    "deit_base_patch16_224": {"model_kwargs": {"depth": 1, "embed_dim": 32, "num_heads": 2, "drop_path_rate": 0.1}},
    "vit_small_patch16_224": {"model_kwargs": {"depth": 1, "embed_dim": 32, "num_heads": 2, "drop_path_rate": 0.1}},
    "convnext_tiny": {"model": "test_convnext"},
    "test_resnet": {"model": "test_resnet"},
}


def read(name: str) -> dict:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def test_they_are_all_here():
    assert RECIPES == [
        "finetune", "gpt4image_deit_base_imagenet", "gpt4image_resnet50_imagenet", "imagenet",
        "label_noise", "pseudo_labels", "small_data", "textteacher_vit_small_imagenet",
    ]  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_two_steps_at_small_size(name, images, tmp_path):
    values = read(name)
    config = TrainConfig(
        str(images),
        out=tmp_path / "run",
        **{**values, "align": AlignConfig(**values["align"]), "augment": AugmentConfig(**values["augment"])},
    )
    train_set = open_dataset(ImagesConfig(str(images)), show=False).split("train")
    config.embeddings = [write_vectors(tmp_path / "E", train_set, per_image=2)]
    for field, value in SMALL[config.model].items():
        setattr(config, field, value)
    if config.weights:
        torch.manual_seed(0)
        torch.save(timm.create_model(config.model, num_classes=9).state_dict(), tmp_path / "weights.pth")
        config.weights = str(tmp_path / "weights.pth")
    config.batch_size = 8 if config.holdout else 12  # two or three steps an epoch
    config.epochs, config.image_size, config.workers, config.device = 1, 64, 0, "cpu"
    config.precision = "bf16" if config.precision == "fp16" else config.precision  # which needs a GPU
    result = run(config)
    (record,) = [record for record in RunFolder(config.out).metrics() if "train_loss" in record]
    assert record["step"] == 2
    assert 0 < record["train_align_loss"] < 20
    assert 0 <= result.metrics["val_top1"] <= 1


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_says_what_it_costs_and_what_was_seen(name):
    header = [line for line in (FOLDER / f"{name}.yaml").read_text().splitlines() if line.startswith("#")]
    words = [line.split()[1] for line in header if len(line.split()) > 1]
    assert [word for word in words if word in ("command", "text", "hardware", "cost", "verified", "not")] == [
        "command", "text", "hardware", "cost", "verified", "not",
    ]  # fmt: skip
    assert f"--config recipes/{name}.yaml" in "\n".join(header)


def test_the_settings_of_the_gpt4image_authors():
    """As the table in the method's notes lists them, for 4 x 256 and 8 x 128 images."""
    resnet, deit = read("gpt4image_resnet50_imagenet"), read("gpt4image_deit_base_imagenet")
    assert (resnet["epochs"], resnet["batch_size"], resnet["optimizer"]) == (120, 4 * 256, "sgd")
    assert (resnet["lr"], resnet["momentum"], resnet["weight_decay"]) == (0.1 * 1024 / 256, 0.9, 1e-4)
    assert (resnet["warmup_epochs"], resnet["min_lr"], resnet["schedule_per"]) == (0, 1e-5, "epoch")
    assert resnet["align"] == {"loss": "clip", "weight": 0.3, "temperature": 0.2, "projector": "mlp"}
    assert (deit["epochs"], deit["batch_size"], deit["optimizer"]) == (300, 8 * 128, "adamw")
    assert (deit["lr"], deit["weight_decay"], deit["ema"]) == (5e-4 * 1024 / 512, 0.05, 0.99996)
    assert (deit["warmup_epochs"], deit["warmup_lr"], deit["min_lr"]) == (5, 1e-6, 1e-5)
    assert deit["align"] == {"loss": "clip", "weight": 0.3, "temperature": 0.05, "projector": "mlp"}
    augment = deit["augment"]
    assert (augment["mixup"], augment["cutmix"], augment["erase"], augment["repeats"]) == (0.8, 1.0, 0.25, 3)
    assert (augment["magnitude"], augment["magnitude_std"]) == (9 * 3, 0.5 * 3)
    assert (deit["label_smoothing"], deit["model_kwargs"]) == (0.1, {"drop_path_rate": 0.1})
    assert (224 / resnet["crop_pct"], 224 / deit["crop_pct"]) == (256, 224)


def test_the_command_line_reads_them(images, tmp_path, monkeypatch):
    small = "--epochs 1 --batch-size 8 --image-size 32 --model resnet10t --workers 0 --device cpu"
    words = ["--config", str(FOLDER / "small_data.yaml"), "train", str(images), "--out", str(tmp_path / "run")]
    monkeypatch.setattr(app, "config", app.config)  # which the file replaces
    app.meta([*words, *small.split()])
    config = RunFolder(tmp_path / "run").config()
    assert (config["lr"], config["augment"]["randaugment"], config["epochs"]) == (0.002, 1, 1)
