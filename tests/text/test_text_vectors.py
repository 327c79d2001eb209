"""The text vector of each image by position, for a training loop of one's own."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from sightwords.errors import ArtifactError
from sightwords.text.embedding_set import EmbeddingSet, TextVectors

A, B, C = "a" * 64, "b" * 64, "c" * 64
VECTORS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
INDEX = {
    "key": [A, B, A],
    "prompt": ["plain"] * 3,
    "describer": ["one"] * 3,
    "sample": [0, 0, 1],
    "row": [0, 2, 1],
}


@pytest.fixture
def folder(tmp_path):
    EmbeddingSet.write(tmp_path / "E", VECTORS, VECTORS.mean(0), INDEX, {"encoder": "test"})
    return tmp_path / "E"


def test_one_image_has_the_mean_of_its_descriptions(folder):
    texts = TextVectors(folder, [B, A])
    vector, weight = texts[1]
    np.testing.assert_array_equal(vector, [0.5, 0.5, 0])
    assert (vector.dtype, weight.dtype) == (np.float32, np.float32)
    assert (weight.shape, float(weight)) == ((), 1)
    np.testing.assert_array_equal(texts[-2][0], VECTORS[2])


def test_an_image_without_a_description_weighs_nothing(folder):
    texts = TextVectors(str(folder), [C, B])
    vector, weight = texts[0]
    assert (vector.tolist(), float(weight)) == ([0, 0, 0], 0)
    assert (len(texts), texts.num_described, texts.dimension) == (2, 1, 3)


@pytest.mark.parametrize("positions", [[2, 0, 2], np.array([2, 0, 2]), slice(None)])
def test_many_images_at_once(folder, positions):
    texts = TextVectors(folder, [A, C, B])
    vectors, weights = texts[positions]
    singles = [texts[i] for i in range(3)]
    for row, i in enumerate([0, 1, 2] if isinstance(positions, slice) else [2, 0, 2]):
        np.testing.assert_array_equal(vectors[row], singles[i][0])
        assert weights[row] == singles[i][1]
    assert (vectors.shape, weights.shape) == ((3, 3), (3,))


def test_no_such_image(folder):
    texts = TextVectors(folder, [A, B])
    with pytest.raises(IndexError):
        texts[2]


def test_a_worker_process_gets_a_small_copy(tmp_path):
    vectors = np.ones((2000, 64), np.float32)
    index = {name: ([A] if name == "key" else values[:1]) for name, values in INDEX.items()}
    EmbeddingSet.write(tmp_path / "E", vectors, vectors.mean(0), index, {"encoder": "test"})
    pickled = pickle.dumps(TextVectors(tmp_path / "E", [A]))
    assert len(pickled) < 10_000  # and not the quarter of a megabyte of the vectors
    np.testing.assert_array_equal(pickle.loads(pickled)[0][0], vectors[0])


def test_images_of_another_set_are_refused(folder):
    with pytest.raises(ArtifactError, match="None of the 1 images has a description"):
        TextVectors(folder, [C])
