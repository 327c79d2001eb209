from __future__ import annotations

import csv
import json

import pyarrow.parquet as pq
import pytest

from sightwords.errors import ArtifactError, ConfigError
from sightwords.evaluation.config import EvaluateConfig
from sightwords.evaluation.evaluate import evaluate
from sightwords.images.keys import image_keys
from sightwords.models.run_folder import RunFolder
from support.trained_run import trained_run


@pytest.fixture
def options(images, tmp_path):
    trained_run(tmp_path / "run")
    return {"run": tmp_path / "run", "images": str(images), "workers": 0, "device": "cpu"}


def test_metrics_agree_with_each_other_and_with_the_tables(options, images):
    result = evaluate(EvaluateConfig(**options, knn=3, probe=True, corruptions=True, transfer=str(images)))
    found = result.metrics
    assert {"top1", "ece", "knn_top1", "probe_top1", "transfer_top1", "corruption_mean"} <= found.keys()
    assert all(0 <= value <= 1 for value in found.values())
    assert found["transfer_top1"] == found["probe_top1"]  # the second dataset is the first
    assert json.loads((result.out / "metrics.json").read_text()) == {**found, "num_images": 12}
    predictions = pq.read_table(result.out / "predictions.parquet").to_pylist()
    assert sum(p["correct"] for p in predictions) / 12 == pytest.approx(found["top1"])
    assert all(p["correct"] == (p["label"] == p["predicted"]) for p in predictions)
    assert all(p["predicted_name"] == p["predicted"].title() for p in predictions)
    head, *rows = csv.reader((result.out / "confusion.csv").open())
    assert head[1:] == ["bar", "disc", "square"]
    assert sum(int(rows[i][i + 1]) for i in range(3)) / 12 == pytest.approx(found["top1"])
    per_class = list(csv.DictReader((result.out / "per_class.csv").open()))
    assert sum(int(row["num_images"]) * float(row["accuracy"]) for row in per_class) / 12 == pytest.approx(
        found["top1"]
    )
    bins = list(csv.DictReader((result.out / "reliability.csv").open()))
    assert sum(int(row["num_images"]) for row in bins) == 12
    near = pq.read_table(result.out / "neighbors.parquet").to_pylist()
    assert [row["key"] for row in near] == [row["key"] for row in predictions]
    train_keys = set(image_keys(sorted((images / "train").rglob("*.png"))))
    assert all(len(row["neighbors"]) == 5 and set(row["neighbors"]) <= train_keys for row in near)
    assert "corrupted top-1" in result.summary()
    assert "Bar mistaken for" in result.summary() or "Disc mistaken for" in result.summary()


def test_accuracy_is_that_of_the_training(aligned, tmp_path):
    result = evaluate(EvaluateConfig(aligned.run, str(aligned.images), out=tmp_path, workers=0, device="cpu"))
    assert result.metrics["top1"] == pytest.approx(RunFolder(aligned.run).metrics()[-1]["val_top1"])


def test_what_cannot_be_evaluated_is_refused(options, images, tmp_path):
    with pytest.raises(ArtifactError, match="is not a run"):
        evaluate(EvaluateConfig(**{**options, "run": tmp_path / "nothing"}))
    with pytest.raises(ConfigError, match="--batch-size is 0"):
        EvaluateConfig(**options, batch_size=0)
    for split in ("train", "val"):
        (images / split / "disc").rename(images / split / "coin")
    with pytest.raises(ArtifactError, match="differing: coin, disc"):
        evaluate(EvaluateConfig(**options))
    (options["run"] / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="not finished"):
        evaluate(EvaluateConfig(**options))
