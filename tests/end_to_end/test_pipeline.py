"""Layouts and kinds of labels through the whole command line: import, embed, train, evaluate, export."""

from __future__ import annotations

import csv
import json

import pytest

FAST = ["--model", "resnet10t", "--image-size", "32", "--epochs", "1", "--batch-size", "8", "--workers", "0"]


@pytest.mark.slow
def test_multi_label_table_with_imported_descriptions(call, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = sorted(images.rglob("*.png"))
    with (images / "table.csv").open("w", newline="") as table, (tmp_path / "texts.csv").open("w", newline="") as texts:
        rows, words = csv.writer(table), csv.writer(texts)
        rows.writerow(["image", "label", "split"])
        words.writerow(["image", "text"])
        for i, file in enumerate(files):
            name = str(file.relative_to(images))
            rows.writerow([name, f"{file.parent.name}|{'even' if i % 2 else 'odd'}", file.parent.parent.name])
            words.writerow([name, f"a {file.parent.name} on noisy ground"])
    imported = call("import", "texts.csv", "--images", images / "table.csv", "--out", "d.db")
    assert "36 descriptions of 36 images" in imported
    assert "3 distinct texts of 36" in call("embed", "d.db", "--out", "E")
    table = images / "table.csv"
    call("train", table, "--embeddings", "E", *FAST, "--out", "run")
    assert "mAP" in call("evaluate", "run", table, "--workers", "0")
    assert 0 < json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())["map"] <= 1
    assert "strict=True" in call("export", "run", "--out", "n.safetensors")


@pytest.mark.slow
def test_a_runs_configuration_is_a_recipe(call, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call("train", images, *FAST, "--lr", "0.004", "--augment.mixup", "0.3", "--out", "one")
    call("train", "--config", "one/config.yaml", "--out", "two")
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
