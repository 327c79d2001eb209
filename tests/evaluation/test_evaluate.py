from __future__ import annotations

import csv
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from sightwords.errors import ArtifactError, ConfigError
from sightwords.evaluation.config import EvaluateConfig
from sightwords.evaluation.evaluate import evaluate as run
from sightwords.images.keys import image_keys
from sightwords.training.config import TrainConfig
from sightwords.training.run import train


@pytest.fixture
def trained(images, tmp_path):
    config = TrainConfig(str(images), out=tmp_path / "run", model="resnet10t", image_size=32, epochs=2, batch_size=8,
                         lr=3e-3, warmup_epochs=0, workers=0, device="cpu")  # fmt: skip
    return train(config)


def test_figures_agree_with_training_and_with_each_other(trained, images):
    result = run(EvaluateConfig(trained.out, str(images), knn=3, workers=0, device="cpu"))
    assert result.metrics["top1"] == pytest.approx(trained.metrics["val_top1"])
    assert json.loads((result.out / "metrics.json").read_text())["num_images"] == 12
    predictions = pq.read_table(result.out / "predictions.parquet").to_pylist()
    assert sum(p["correct"] for p in predictions) / 12 == pytest.approx(result.metrics["top1"])
    assert all(p["correct"] == (p["label"] == p["predicted"]) for p in predictions)
    rows = list(csv.reader((result.out / "confusion.csv").open()))
    assert rows[0][1:] == ["bar", "disc", "square"]
    assert sum(int(rows[i + 1][i + 1]) for i in range(3)) / 12 == pytest.approx(result.metrics["top1"])
    assert 0 <= result.metrics["knn_top1"] <= 1
    assert "top-1" in result.summary()


def test_a_run_for_other_classes_is_refused(trained, images):
    (images / "train" / "disc").rename(images / "train" / "coin")
    (images / "val" / "disc").rename(images / "val" / "coin")
    with pytest.raises(ArtifactError, match="differing: coin, disc"):
        run(EvaluateConfig(trained.out, str(images), workers=0))


def test_no_run_and_unfinished_run(trained, images, tmp_path):
    with pytest.raises(ArtifactError, match=r"is not a run \(network.json is missing\)"):
        run(EvaluateConfig(tmp_path / "nothing", str(images)))
    (trained.out / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="the training has not finished"):
        run(EvaluateConfig(trained.out, str(images), workers=0))


def test_options_are_checked(trained, images):
    with pytest.raises(ConfigError, match="--batch-size is 0"):
        replace(EvaluateConfig(trained.out, str(images)), batch_size=0)


def test_every_further_figure(trained, images):
    options = EvaluateConfig(
        trained.out, str(images), knn=3, probe=True, corruptions=True, transfer=str(images), workers=0, device="cpu"
    )
    result = run(options)
    assert {"ece", "knn_top1", "probe_top1", "transfer_top1", "corruption_mean"} <= result.metrics.keys()
    assert all(0 <= value <= 1 for value in result.metrics.values())
    # the second data set is the first, so what it measures is the same
    assert result.metrics["transfer_top1"] == result.metrics["probe_top1"]
    assert "corruption_jpeg_1" not in result.summary()
    assert "corrupted top-1" in result.summary()
    near = pq.read_table(result.out / "neighbors.parquet").to_pylist()
    predictions = pq.read_table(result.out / "predictions.parquet").to_pylist()
    assert [row["key"] for row in near] == [row["key"] for row in predictions]
    train_keys = set(image_keys(sorted((images / "train").rglob("*.png"))))
    assert all(len(row["neighbors"]) == 5 and set(row["neighbors"]) <= train_keys for row in near)
    per_class = list(csv.DictReader((result.out / "per_class.csv").open()))
    right = sum(int(row["num_images"]) * float(row["accuracy"]) for row in per_class)
    assert right / 12 == pytest.approx(result.metrics["top1"])
    bins = list(csv.DictReader((result.out / "reliability.csv").open()))
    assert sum(int(row["num_images"]) for row in bins) == 12
