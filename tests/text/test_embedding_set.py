"""The embedding set: mapped, joined by key, replaced as a whole or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from sightwords.errors import ArtifactError
from sightwords.text import embedding_set as module
from sightwords.text.embedding_set import INDEX_SCHEMA, EmbeddingSet, TextVectors, all_products, nearest_rows

A, B, C, D = "a" * 64, "b" * 64, "c" * 64, "d" * 64
VECTORS = np.random.default_rng(0).normal(size=(4, 6))
INDEX = {
    "key": [C, A, A, A, B],
    "prompt": ["plain", "plain", "plain", "short", "plain"],
    "describer": ["one", "one", "one", "two", "one"],
    "sample": [0, 1, 0, 2, 0],
    "row": [3, 1, 0, 2, 1],
}
TABLE = pa.table({**INDEX, "clip_score": [0.25, None, 0.5, -0.125, None]}, schema=INDEX_SCHEMA)


def _write(folder: Path, vectors: np.ndarray = VECTORS, **meta: object) -> EmbeddingSet:
    return EmbeddingSet.write(folder, vectors, vectors.mean(0), INDEX, {"encoder": "test", **meta})


def test_what_was_written_is_read(tmp_path):
    found = _write(tmp_path / "deep" / "E", revision="ü")
    np.testing.assert_array_equal(found.vectors, VECTORS.astype(np.float16))
    np.testing.assert_allclose(found.mean, VECTORS.mean(0), rtol=1e-6)
    assert found.mean.dtype == np.float32
    assert found.dimension == 6
    assert found.index().to_pydict() == {**INDEX, "clip_score": [None] * 5}
    expected = {"encoder": "test", "revision": "ü", "num_vectors": 4, "num_descriptions": 5, "dimension": 6}
    assert expected.items() <= found.meta.items()


@pytest.mark.parametrize(
    ("keys", "rows"),
    [([B, D, A, C], [[1], [], [0, 1, 2], [3]]), ([A, A], [[0, 1, 2]] * 2), ([], []), ([D, D], [[], []])],
)
def test_rows_are_those_of_each_image_in_the_order_asked_for(tmp_path, keys, rows):
    found = _write(tmp_path / "E").rows_of(keys)
    assert [part.tolist() for part in np.split(found.rows, found.starts[1:-1])][: len(keys)] == rows
    assert found.num_texts.tolist() == [len(part) for part in rows]
    assert (found.starts.dtype, found.rows.dtype) == (np.int64, np.int32)


def test_many_images_in_any_order(tmp_path):
    draw = np.random.default_rng(0)
    keys, owners, own = [f"{i:064x}" for i in range(500)], draw.integers(0, 500, 2000), draw.integers(0, 4, 2000)
    index = {"key": [keys[i] for i in owners], "prompt": ["p"] * 2000, "describer": ["d"] * 2000}
    index |= {"sample": list(range(2000)), "row": own.tolist()}
    order = draw.permutation(500)
    found = EmbeddingSet.write(tmp_path / "E", VECTORS, VECTORS.mean(0), index, {}).rows_of([keys[i] for i in order])
    for position, image in enumerate(order):
        mine = found.rows[found.starts[position] : found.starts[position + 1]]
        assert mine.tolist() == own[owners == image].tolist()


def test_vectors_are_mapped_and_a_copy_in_a_worker_maps_them_again(tmp_path):
    found = _write(tmp_path / "E", np.random.default_rng(0).normal(size=(4, 50_000)))
    assert isinstance(found.vectors, np.memmap)
    pickled = pickle.dumps(found)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert isinstance(copy.vectors, np.memmap)
    np.testing.assert_array_equal(copy.vectors, found.vectors)
    np.testing.assert_array_equal(copy.rows_of([A]).rows, found.rows_of([A]).rows)


def test_a_set_is_replaced_as_a_whole_and_who_maps_the_old_keeps_it(tmp_path):
    old = _write(tmp_path / "E")
    new = _write(tmp_path / "E", VECTORS[:, :3] + 1)
    assert EmbeddingSet(tmp_path / "E").dimension == new.dimension == 3
    np.testing.assert_array_equal(old.vectors, VECTORS.astype(np.float16))
    assert [path.name for path in tmp_path.iterdir()] == ["E"]


@pytest.mark.parametrize("fault", ["index", "meta"])
def test_an_error_while_writing_leaves_the_old_set(tmp_path, fault):
    _write(tmp_path / "E")
    meta = {"encoder": object()} if fault == "meta" else {}
    index = {**INDEX, "row": INDEX["row"][:2]} if fault == "index" else INDEX
    with pytest.raises((TypeError, ValueError)):
        EmbeddingSet.write(tmp_path / "E", VECTORS * 2, VECTORS.mean(0), index, meta)
    np.testing.assert_array_equal(EmbeddingSet(tmp_path / "E").vectors, VECTORS.astype(np.float16))
    assert [path.name for path in tmp_path.iterdir()] == ["E"]


@pytest.mark.parametrize("damage", ["missing", "vectors", "mean", "meta", "no counts", "shape"])
def test_missing_and_damaged_sets_are_errors_of_ours(tmp_path, damage):
    folder = tmp_path / "E"
    if damage != "missing":
        _write(folder)
    if damage in ("vectors", "mean"):
        (folder / f"{damage}.npy").write_bytes((folder / f"{damage}.npy").read_bytes()[:100])
    elif damage == "meta":
        (folder / "meta.json").write_text("{")
    elif damage == "no counts":
        (folder / "meta.json").write_text("{}")
    elif damage == "shape":
        np.save(folder / "vectors.npy", VECTORS[:2])
    with pytest.raises(ArtifactError, match="sightwords embed" if damage == "missing" else "damaged"):
        EmbeddingSet(folder)


def test_a_file_of_vectors_is_moved_into_the_set(tmp_path):
    np.save(tmp_path / "made.npy", VECTORS.astype(np.float16))
    found = EmbeddingSet.write(tmp_path / "E", tmp_path / "made.npy", VECTORS.mean(0), TABLE, {})
    np.testing.assert_array_equal(found.vectors, VECTORS.astype(np.float16))
    assert [path.name for path in tmp_path.iterdir()] == ["E"]
    assert found.meta["num_vectors"] == 4
    assert found.index().to_pydict() == TABLE.to_pydict()


def test_the_mean_of_each_image_is_that_of_its_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 2)
    found = _write(tmp_path / "E")
    vectors = VECTORS.astype(np.float16).astype(np.float32)
    expected = [vectors[3], vectors[[0, 1, 2]].mean(0), vectors[1]]
    np.testing.assert_allclose(found.means(found.rows_of([C, A, B])), expected, rtol=1e-5)


SMALL = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


@pytest.fixture
def folder(tmp_path):
    """A has two texts, B one, C none."""
    index = {"key": [A, B, A], "prompt": ["plain"] * 3, "describer": ["one"] * 3, "sample": [0, 0, 1], "row": [0, 2, 1]}
    EmbeddingSet.write(tmp_path / "E", SMALL, SMALL.mean(0), index, {"encoder": "test"})
    return tmp_path / "E"


def test_text_vectors_of_one_image_are_the_mean_of_its_descriptions(folder):
    texts = TextVectors(str(folder), [B, A, C])
    for position, mean, known in ((1, [0.5, 0.5, 0], 1), (-3, [0, 0, 1], 1), (2, [0, 0, 0], 0)):
        vector, weight = texts[position]
        assert (vector.tolist(), weight.shape, float(weight)) == (mean, (), known)
        assert vector.dtype == weight.dtype == np.float32
    assert (len(texts), texts.num_described, texts.dimension) == (3, 2, 3)
    with pytest.raises(IndexError):
        texts[3]
    with pytest.raises(ArtifactError, match="None of the 1 images has a description"):
        TextVectors(folder, [C])


@pytest.mark.parametrize("positions", [[2, 0, 2], np.array([2, 0, 2]), slice(None)])
def test_text_vectors_of_many_images_at_once(folder, positions):
    texts = TextVectors(folder, [A, C, B])
    vectors, weights = texts[positions]
    expected = [texts[i] for i in ([0, 1, 2] if isinstance(positions, slice) else [2, 0, 2])]
    np.testing.assert_array_equal(vectors, [vector for vector, _ in expected])
    np.testing.assert_array_equal(weights, [weight for _, weight in expected])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(texts))[positions][0], vectors)


@pytest.fixture
def vectors(tmp_path):
    made = np.random.default_rng(0).standard_normal((501, 16)).astype(np.float16)
    made[100] = made[400] = made[7]  # ties
    np.save(tmp_path / "vectors.npy", made)
    return np.load(tmp_path / "vectors.npy", mmap_mode="r")


@pytest.mark.parametrize("rows", [1, 7, 100, 501, 9999])
def test_the_nearest_rows_are_those_of_the_whole_product_in_any_blocks(vectors, rows, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", rows * 16 * 4)
    queries = np.asarray(vectors[[7, 30]], np.float32)
    products = queries @ np.asarray(vectors, np.float32).T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :10]
    scores, found = nearest_rows(vectors, queries, 10)
    assert found.tolist() == expected.tolist()
    assert found[0, :3].tolist() == [7, 100, 400]  # equal ones in the order of their rows
    np.testing.assert_allclose(scores, np.take_along_axis(products, expected, 1), rtol=1e-5)
    np.testing.assert_allclose(all_products(vectors, queries[1]), products[1], rtol=1e-5, atol=1e-5)


def test_only_wanted_rows_come_and_blocks_are_transformed_first(vectors):
    wanted = np.zeros(len(vectors), bool)
    wanted[[3, 100, 400]] = True
    _, rows = nearest_rows(vectors, np.asarray(vectors[[7]], np.float32), 10, wanted)
    assert rows.tolist()[0][:2] == [100, 400]
    assert sorted(rows[0].tolist()) == [3, 100, 400]
    flipped = nearest_rows(vectors, np.asarray(-vectors[[30]], np.float32), 1, transform=torch.neg)
    assert flipped[1].tolist() == [[30]]
