"""Whatever instant a kill comes at, the index holds whole rows, each with its own key."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from sightwords.evaluation.feature_index import FeatureIndex

DIMENSION = 8


def keys_of(numbers):
    return np.frombuffer(b"".join(hashlib.sha256(bytes([n])).digest() for n in numbers), np.uint8).reshape(-1, 32)


def vectors_of(numbers):
    return np.repeat(np.array([*numbers], np.float32)[:, None], DIMENSION, axis=1)


@pytest.fixture
def folder(tmp_path):
    index = FeatureIndex(tmp_path / "index", DIMENSION, {"weights": "a"})
    index.append(keys_of([1, 2, 3]), vectors_of([1, 2, 3]))
    return tmp_path / "index"


def holds(index, numbers):
    places = index.find(keys_of(numbers))
    return (places >= 0).all() and (index.vectors[places] == vectors_of(numbers)).all()


@pytest.mark.parametrize(("vectors_cut", "keys_cut"), [(0, 0), (1, 0), (0, 1), (16, 32), (20, 0), (40, 40)])
def test_rows_that_were_cut_are_forgotten_and_overwritten(folder, vectors_cut, keys_cut):
    for name, cut in (("vectors.npy", vectors_cut), ("keys.bin", keys_cut)):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) - cut])
    index = FeatureIndex(folder, DIMENSION, {"weights": "a"})
    kept = 3 - max(-(-vectors_cut // 16), -(-keys_cut // 32))
    assert len(index) == kept
    assert holds(index, range(1, kept + 1))
    index.append(keys_of([9]), vectors_of([9]))
    again = FeatureIndex(folder, DIMENSION, {"weights": "a"})
    assert len(again) == kept + 1
    assert holds(again, [*range(1, kept + 1), 9])
    assert np.load(folder / "vectors.npy").shape == (kept + 1, DIMENSION)


def test_unknown_keys_have_no_row_and_another_identity_begins_anew(folder):
    assert FeatureIndex(folder, DIMENSION, {"weights": "a"}).find(keys_of([2, 7])).tolist() == [1, -1]
    assert len(FeatureIndex(folder, DIMENSION, {"weights": "b"})) == 0
