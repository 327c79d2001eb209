"""The embedding set: mapped, joined by key, replaced as a whole or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sightwords.errors import ArtifactError
from sightwords.text.embedding_set import INDEX_SCHEMA, EmbeddingSet

A, B, C, D = "a" * 64, "b" * 64, "c" * 64, "d" * 64
VECTORS = np.random.default_rng(0).normal(size=(4, 6))
INDEX = {
    "key": [C, A, A, A, B],
    "prompt": ["plain", "plain", "plain", "short", "plain"],
    "describer": ["one", "one", "one", "two", "one"],
    "sample": [0, 1, 0, 2, 0],
    "row": [3, 1, 0, 2, 1],
}
TABLE = pa.table({**INDEX, "clip_score": [0.5] * 5}, schema=INDEX_SCHEMA)


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


def test_rows_are_those_of_each_image_in_the_order_asked_for(tmp_path):
    found = _write(tmp_path / "E").rows_of([B, D, A, C])
    assert found.num_texts.tolist() == [1, 0, 3, 1]
    parts = [found.rows[start:end].tolist() for start, end in zip(found.starts, found.starts[1:], strict=False)]
    assert parts == [[1], [], [0, 1, 2], [3]]
    assert (found.starts.dtype, found.rows.dtype) == (np.int64, np.int32)


def test_equal_images_share_their_texts(tmp_path):
    found = _write(tmp_path / "E").rows_of([A, A])
    assert found.rows.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("keys", [[], [D], [D, "e" * 64]])
def test_images_without_any_text(tmp_path, keys):
    found = _write(tmp_path / "E").rows_of(keys)
    assert found.starts.tolist() == [0] * (len(keys) + 1)
    assert found.rows.tolist() == []


def test_many_images_in_any_order(tmp_path):
    draw = np.random.default_rng(0)
    keys = [f"{i:064x}" for i in range(500)]
    owners = draw.integers(0, 500, 2000)
    index = {
        "key": [keys[i] for i in owners], "prompt": ["p"] * 2000, "describer": ["d"] * 2000,
        "sample": list(range(2000)), "row": draw.integers(0, 4, 2000).tolist(),
    }  # fmt: skip
    found = EmbeddingSet.write(tmp_path / "E", VECTORS, VECTORS.mean(0), index, {})
    order = draw.permutation(500)
    rows = found.rows_of([keys[i] for i in order])
    for position, image in enumerate(order):
        mine = [index["row"][i] for i in np.flatnonzero(owners == image)]
        assert rows.rows[rows.starts[position] : rows.starts[position + 1]].tolist() == mine


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


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    (tmp_path / "E").mkdir()
    (tmp_path / "E" / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="no embedding set"):
        _write(tmp_path / "E")
    assert (tmp_path / "E" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("damage", ["missing", "vectors", "mean", "meta", "shape"])
def test_missing_and_damaged_sets_are_errors_of_ours(tmp_path, damage):
    folder = tmp_path / "E"
    if damage != "missing":
        _write(folder)
    if damage in ("vectors", "mean"):
        (folder / f"{damage}.npy").write_bytes((folder / f"{damage}.npy").read_bytes()[:100])
    elif damage == "meta":
        (folder / "meta.json").write_text("{")
    elif damage == "shape":
        np.save(folder / "vectors.npy", VECTORS[:2])
    with pytest.raises(ArtifactError, match="sightwords embed" if damage == "missing" else "damaged"):
        EmbeddingSet(folder)


def test_a_folder_with_anything_else_in_it_is_never_replaced(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "meta.json").write_text("{}")
    (folder / "cat.jpg").write_bytes(b"precious")
    index = {"key": ["a" * 64], "prompt": ["p"], "describer": ["d"], "sample": [0], "row": [0]}
    with pytest.raises(ArtifactError, match=r"is no embedding set \(see cat.jpg\)"):
        EmbeddingSet.write(folder, np.ones((1, 2)), np.ones(2), index, {})
    assert (folder / "cat.jpg").read_bytes() == b"precious"


def test_meta_without_counts_is_damage(tmp_path):
    index = {"key": ["a" * 64], "prompt": ["p"], "describer": ["d"], "sample": [0], "row": [0]}
    EmbeddingSet.write(tmp_path / "E", np.ones((1, 2)), np.ones(2), index, {})
    (tmp_path / "E" / "meta.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is damaged"):
        EmbeddingSet(tmp_path / "E")


def test_clip_score_is_kept_and_may_be_missing(tmp_path):
    scores = [0.25, None, 0.5, -0.125, None]
    found = EmbeddingSet.write(tmp_path / "E", VECTORS, VECTORS.mean(0), {**INDEX, "clip_score": scores}, {})
    column = found.index()["clip_score"]
    assert column.to_pylist() == scores
    assert column.type == pa.float32()


def test_a_set_that_was_written_before_clip_score_is_read(tmp_path):
    found = _write(tmp_path / "E")
    old = pq.read_table(tmp_path / "E" / "index.parquet").drop_columns("clip_score")
    pq.write_table(old, tmp_path / "E" / "index.parquet")
    assert found.index()["clip_score"].to_pylist() == [None] * 5
    assert found.index().schema == INDEX_SCHEMA
    assert found.rows_of([B]).rows.tolist() == [1]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_of_vectors_becomes_part_of_the_set_and_stays_where_it_is(tmp_path, monkeypatch, links):
    np.save(tmp_path / "made.npy", VECTORS.astype(np.float16))
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    found = EmbeddingSet.write(tmp_path / "E", tmp_path / "made.npy", VECTORS.mean(0), TABLE, {})
    np.testing.assert_array_equal(found.vectors, VECTORS.astype(np.float16))
    assert (tmp_path / "made.npy").stat().st_nlink == 1 + links
    assert found.meta["num_vectors"] == 4
    assert found.index().to_pydict() == TABLE.to_pydict()
