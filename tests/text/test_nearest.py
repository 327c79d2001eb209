"""The nearest rows are those that a whole product finds, in any blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.text import nearest
from sightwords.text.nearest import all_products, nearest_rows


@pytest.fixture
def vectors(tmp_path):
    made = np.random.default_rng(0).standard_normal((501, 16)).astype(np.float16)
    made[100] = made[400] = made[7]  # ties
    np.save(tmp_path / "vectors.npy", made)
    return np.load(tmp_path / "vectors.npy", mmap_mode="r")


@pytest.mark.parametrize("rows", [1, 7, 100, 501, 9999])
def test_same_as_the_whole_product_in_any_blocks(vectors, rows, monkeypatch):
    monkeypatch.setattr(nearest, "BLOCK_BYTES", rows * 16 * 4)
    queries = np.asarray(vectors[[7, 30]], np.float32)
    products = queries @ np.asarray(vectors, np.float32).T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :10]
    scores, found = nearest_rows(vectors, queries, 10)
    assert found.tolist() == expected.tolist()
    assert found[0, :3].tolist() == [7, 100, 400]  # equal ones in the order of their rows
    np.testing.assert_allclose(scores, np.take_along_axis(products, expected, 1), rtol=1e-5)


def test_only_wanted_rows_come(vectors):
    wanted = np.zeros(len(vectors), bool)
    wanted[[3, 100, 400]] = True
    _, rows = nearest_rows(vectors, np.asarray(vectors[[7]], np.float32), 10, wanted)
    assert rows.tolist()[0][:2] == [100, 400]
    assert sorted(rows[0].tolist()) == [3, 100, 400]


def test_blocks_are_transformed_first(vectors):
    flipped = nearest_rows(vectors, np.asarray(-vectors[[30]], np.float32), 1, transform=torch.neg)
    assert flipped[1].tolist() == [[30]]


def test_all_products_are_those_of_the_whole_matrix(vectors, monkeypatch):
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 100 * 16 * 4)
    query = np.asarray(vectors[30], np.float32)
    expected = np.asarray(vectors, np.float32) @ query
    np.testing.assert_allclose(all_products(vectors, query), expected, rtol=1e-5, atol=1e-5)
