"""Embedding sets for tests: what sightwords embed would write, with vectors of the test's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sightwords.images.dataset import Split
from sightwords.text.embedding_set import EmbeddingSet


def write_vectors(folder: Path, images: Split, dimension: int = 8, leave_out: int = 0, per_image: int = 1) -> Path:
    """Write an embedding set in which images of a class have similar vectors; the first `leave_out` have none."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(10, dimension))
    keys = [key for key in images.keys()[leave_out:] for _ in range(per_image)]
    labels = [int(images.labels(i)[0]) for i in range(leave_out, len(images)) for _ in range(per_image)]
    vectors = centers[labels] + 0.3 * random.normal(size=(len(keys), dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    count = len(keys)
    index = {
        "key": keys, "prompt": ["plain"] * count, "describer": ["test"] * count,
        "sample": [i % per_image for i in range(count)], "row": list(range(count)),
    }  # fmt: skip
    EmbeddingSet.write(folder, vectors, vectors.mean(0), index, {"encoder": "test"})
    return folder
