from __future__ import annotations

import csv

import pytest

import sightwords

COLORS = ("red", "green", "blue", "gray")


@pytest.fixture
def described(images, tmp_path):
    """Description set of the training images: color, shape and number."""
    rows = []
    for number, path in enumerate(sorted((images / "train").rglob("*.png"))):
        rows.append(
            (path.relative_to(images).as_posix(), f"A {COLORS[number % 4]} {path.parent.name}, number {number}.")
        )
    with (tmp_path / "texts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text"), *rows])
    out = tmp_path / "texts.db"
    sightwords.import_descriptions(sightwords.ImportConfig(tmp_path / "texts.csv", images=str(images), out=out))
    return out


@pytest.fixture
def embeddings(described, tmp_path):
    """Embedding set of these descriptions, by the encoder whose weights come from the package index."""
    sightwords.embed(sightwords.EmbedConfig(described, encoder="builtin:minilm", out=tmp_path / "embeddings"))
    return tmp_path / "embeddings"
