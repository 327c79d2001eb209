"""The wanted descriptions and their distinct texts."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from sightwords.descriptions.schema import DescriberInfo, Description, Prompt, Review
from sightwords.descriptions.store import DescriptionSet
from sightwords.text import selection
from sightwords.text.config import EmbedConfig
from sightwords.text.embedding_set import INDEX_SCHEMA
from sightwords.text.selection import read_texts


def _write(path: Path, rows: list[Description], **changed: str) -> EmbedConfig:
    with DescriptionSet(path, create=True) as store:
        for name in ("plain", "class"):
            store.add_prompt(Prompt(name, 1, changed.get("template", name)))
        store.add_describer(DescriberInfo("hf:one", "one", changed.get("revision", "")))
        store.put(rows)
    return EmbedConfig(path, out=path.with_suffix(""))


ROWS = [
    Description("a", 1, 1, 0, "red", clip_score=0.5),
    Description("a", 2, 1, 0, "blue"),
    Description("b", 1, 1, 0, "red"),
    Description("c", 1, 1, 0, "green", "rejected", "refusal"),
]


def _fingerprint(path: Path, rows: list[Description] = ROWS, **changed: str) -> str:
    return read_texts(_write(path, rows, **changed)).fingerprint


def test_distinct_texts_as_they_first_appear(tmp_path):
    found = read_texts(_write(tmp_path / "D.db", ROWS))
    assert found.distinct == ["red", "blue"]
    assert found.rows.tolist() == [0, 1, 0]
    assert found.index.to_pylist() == [
        {"key": "a", "prompt": "plain", "describer": "hf:one", "sample": 0, "row": 0, "clip_score": 0.5},
        {"key": "a", "prompt": "class", "describer": "hf:one", "sample": 0, "row": 1, "clip_score": None},
        {"key": "b", "prompt": "plain", "describer": "hf:one", "sample": 0, "row": 0, "clip_score": None},
    ]
    assert found.index.schema == INDEX_SCHEMA
    assert (found.num_images, found.prompts, found.describers) == (2, ["class", "plain"], ["hf:one"])


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 100])
def test_large_sets_are_read_in_parts(tmp_path, monkeypatch, at_once):
    rows = [Description(f"{i:03d}", 1 + i % 2, 1, 0, f"text {i % 20}", clip_score=i / 256) for i in range(40)]
    config = _write(tmp_path / "D.db", rows)
    expected = read_texts(config)
    monkeypatch.setattr(selection, "_AT_ONCE", at_once)
    found = read_texts(config)
    assert found.index.equals(expected.index)
    assert pa.Table.from_pylist(found.index.to_pylist(), INDEX_SCHEMA).equals(found.index.combine_chunks())
    assert (found.prompts, found.distinct, found.fingerprint) == (
        expected.prompts,
        expected.distinct,
        expected.fingerprint,
    )


def test_the_fingerprint_is_that_of_the_wanted_rows_alone(tmp_path):
    config = _write(tmp_path / "D.db", [Description("a", 1, 1, 0, "red"), Description("b", 1, 1, 0, "blue")])
    everything = read_texts(config)
    with DescriptionSet(config.descriptions) as store:
        assert everything.fingerprint == store.fingerprint()
    config.where = "key = 'a'"
    wanted = read_texts(config)
    assert wanted.distinct == ["red"]
    assert wanted.fingerprint == _fingerprint(tmp_path / "other.db", [Description("a", 1, 1, 0, "red")])


def test_the_fingerprint_follows_all_that_matters(tmp_path):
    found = {_fingerprint(tmp_path / "0.db"), _fingerprint(tmp_path / "1.db", ROWS)}
    assert len(found) == 1
    changes = [
        [*ROWS[:2], Description("b", 1, 1, 0, "Red")],
        [*ROWS[:2], Description("b", 1, 1, 1, "red")],
        [*ROWS[:2], Description("b", 2, 1, 0, "red")],
        [Description("a", 1, 1, 0, "red", clip_score=0.25), *ROWS[1:]],
        [Description("a", 1, 1, 0, "red"), *ROWS[1:]],
    ]
    found |= {_fingerprint(tmp_path / f"c{i}.db", rows) for i, rows in enumerate(changes)}
    found |= {_fingerprint(tmp_path / "t.db", template="new"), _fingerprint(tmp_path / "r.db", revision="2")}
    assert len(found) == 8


def test_the_hash_of_texts_sees_their_borders_and_order(tmp_path):
    def found(*texts: str) -> str:
        rows = [Description(f"{i}", 1, 1, 0, text) for i, text in enumerate(texts)]
        return read_texts(_write(tmp_path / f"{'-'.join(texts)}.db", rows)).texts_hash

    assert len({found("ab", "c"), found("a", "bc"), found("c", "ab"), found("abc")}) == 4


def test_what_people_decided_is_kept_to_and_who_edited_is_named(tmp_path):
    config = _write(tmp_path / "D.db", ROWS)
    with DescriptionSet(tmp_path / "D.db") as store:
        store.add_reviews([Review.of(store.current("b")[0], "edit", "human:anna", "crimson")])
        store.add_reviews([Review.of(store.current("a")[1], "reject", "human:bob")])
        store.add_reviews([Review.of(store.current("c")[0], "edit", "human:anna", "emerald")])
    found = read_texts(config)
    assert found.distinct == ["red", "crimson", "emerald"]
    assert found.index["key"].to_pylist() == ["a", "b", "c"]
    assert found.describers == ["hf:one", "human:anna"]
