"""Layouts and kinds of labels through the whole command line: import, embed, train, evaluate, export."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import pytest

FAST = ["--model", "resnet10t", "--image-size", "32", "--epochs", "1", "--batch-size", "8", "--workers", "0"]


def sightwords(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "sightwords", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_multi_label_table_with_imported_descriptions(images, tmp_path):
    files = sorted(images.rglob("*.png"))
    with (images / "table.csv").open("w", newline="") as table, (tmp_path / "texts.csv").open("w", newline="") as texts:
        rows, words = csv.writer(table), csv.writer(texts)
        rows.writerow(["image", "label", "split"])
        words.writerow(["image", "text"])
        for i, file in enumerate(files):
            name = str(file.relative_to(images))
            rows.writerow([name, f"{file.parent.name}|{'even' if i % 2 else 'odd'}", file.parent.parent.name])
            words.writerow([name, f"a {file.parent.name} on noisy ground"])
    assert "36 descriptions of 36 images" in sightwords(
        "import", "texts.csv", "--images", images / "table.csv", "--out", "d.db", cwd=tmp_path
    )
    assert "3 distinct texts of 36" in sightwords("embed", "d.db", "--out", "E", cwd=tmp_path)
    table = images / "table.csv"
    sightwords("train", table, "--embeddings", "E", *FAST, "--out", "run", cwd=tmp_path)
    assert "mAP" in sightwords("evaluate", "run", table, "--workers", "0", cwd=tmp_path)
    assert 0 < json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())["map"] <= 1
    assert "strict=True" in sightwords("export", "run", "--out", "n.safetensors", cwd=tmp_path)


@pytest.mark.slow
def test_a_runs_configuration_is_a_recipe(images, tmp_path):
    sightwords("train", images, *FAST, "--lr", "0.004", "--augment.mixup", "0.3", "--out", "one", cwd=tmp_path)
    sightwords("train", "--config", "one/config.yaml", "--out", "two", cwd=tmp_path)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
