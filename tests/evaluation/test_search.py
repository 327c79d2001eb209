from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from sightwords.errors import ArtifactError, ConfigError
from sightwords.evaluation import search as module
from sightwords.evaluation.config import SearchConfig
from sightwords.evaluation.search import FeatureIndex
from sightwords.evaluation.search import search as run
from support.aligned_run import TEXTS
from support.images import draw


@pytest.fixture
def options(aligned, tmp_path):
    return SearchConfig(aligned.run, str(aligned.images), "a round red stone", top=5, index=tmp_path / "index",
                        batch_size=16, workers=0, device="cpu")  # fmt: skip


def test_a_sentence_finds_the_images_that_it_describes_and_each_is_looked_at_once(options, monkeypatch):
    for num_new, (class_name, sentence) in zip((66, 0, 0), TEXTS.items(), strict=True):
        result = run(replace(options, sentence=sentence, top=66))
        assert (result.num_images, result.num_new) == (66, num_new)
        right = [hit.label == class_name for hit in result.hits]
        assert sum(right[:22]) >= 19, right  # 22 images of each class, in both splits
        scores = [hit.score for hit in result.hits]
        assert scores == sorted(scores, reverse=True)
        monkeypatch.setattr(module, "TrainedNetwork", None)


def test_new_images_are_added_and_removed_ones_are_not_found(options, tmp_path, aligned):
    copy = tmp_path / "copy"
    shutil.copytree(aligned.images, copy)
    options = replace(options, images=str(copy), top=100)
    run(options)
    draw("disc", 77).save(copy / "val" / "disc" / "new.png")
    gone = copy / "train" / "disc" / "000.png"
    gone.unlink()
    result = run(options)
    assert (result.num_new, result.num_images) == (1, 66)
    names = [hit.name for hit in result.hits]
    assert "val/disc/new.png" in names
    assert "train/disc/000.png" not in names


def test_a_killed_search_goes_on_where_it_was(options, monkeypatch):
    whole = run(replace(options, index=options.index.with_name("whole")))
    project = module.Projection.of_images
    calls = []

    def dying(self, features):
        calls.append(len(features))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return project(self, features)

    with monkeypatch.context() as patch:
        patch.setattr(module.Projection, "of_images", dying)
        with pytest.raises(KeyboardInterrupt):
            run(options)
    result = run(options)
    assert 0 < result.num_new == 66 - sum(calls[:2])
    assert [(h.key, round(h.score, 3)) for h in result.hits] == [(h.key, round(h.score, 3)) for h in whole.hits]


def test_another_network_begins_a_new_index(options, aligned, tmp_path):
    run(options)
    other = tmp_path / "other"
    shutil.copytree(aligned.run, other, ignore=shutil.ignore_patterns("checkpoints", "search"))
    facts = json.loads((other / "network.json").read_text())
    (other / "network.json").write_text(json.dumps({**facts, "crop_pct": 1.0}))
    assert run(replace(options, run=other)).num_new == 66


def test_table_and_page(options, tmp_path):
    result = run(replace(options, out=tmp_path / "hits.csv", page=tmp_path / "hits.html"))
    rows = list(csv.DictReader((tmp_path / "hits.csv").open()))
    assert [row["name"] for row in rows] == [hit.name for hit in result.hits]
    page = (tmp_path / "hits.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 5
    assert "a round red stone" in page
    run(replace(options, out=tmp_path / "hits.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "hits.jsonl").read_text().splitlines()]
    assert [line["rank"] for line in lines] == [1, 2, 3, 4, 5]
    assert result.hits[0].name in result.summary()


def test_unreadable_images_are_named_and_a_plain_folder_will_do(options, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    for i in range(3):
        draw("disc", i).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    result = run(replace(options, images=str(folder)))
    assert result.num_images == 3
    assert any("broken.png" in text for text in result.unreadable)
    assert {hit.label for hit in result.hits} == {""}


def test_bad_options_and_a_folder_of_something_else(options):
    for changes, message in (
        ({"top": 0}, "--top is 0"), ({"out": "hits.txt"}, "must end in .csv or .jsonl"), ({"sentence": ""}, "empty")
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            run(replace(options, **changes))
    options.index.mkdir()
    (options.index / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not an image index"):
        run(options)
    assert (options.index / "thesis.txt").read_text() == "mine"


DIMENSION = 8
ROW_BYTES = 32 + 2 * DIMENSION


def rows_of(*numbers):
    """Return a key and a vector for each number."""
    keys = [hashlib.sha256(bytes([number])).digest() for number in numbers]
    vectors = np.repeat(np.array(numbers, np.float32)[:, None], DIMENSION, axis=1)
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32), vectors


def numbers_in(index):
    keys, vectors = rows_of(*range(10))
    rows = index.find(keys)
    assert (index.vectors[rows[rows >= 0]] == vectors[rows >= 0]).all()
    return np.flatnonzero(rows >= 0).tolist()


@pytest.mark.parametrize("cut", [0, 1, 16, ROW_BYTES - 1, ROW_BYTES, ROW_BYTES + 1, 3 * ROW_BYTES])
def test_whatever_instant_a_kill_comes_at_the_index_holds_whole_rows(tmp_path, cut):
    index = FeatureIndex(tmp_path, DIMENSION, {"weights": "a"})
    index.append(*rows_of(1, 2, 3))
    data = (tmp_path / "vectors.bin").read_bytes()
    (tmp_path / "vectors.bin").write_bytes(data[: len(data) - cut])
    index = FeatureIndex(tmp_path, DIMENSION, {"weights": "a"})
    kept = [1, 2, 3][: (len(data) - cut) // ROW_BYTES]
    assert numbers_in(index) == kept
    index.append(*rows_of(9))
    again = FeatureIndex(tmp_path, DIMENSION, {"weights": "a"})
    assert (len(again), numbers_in(again)) == (len(kept) + 1, [*kept, 9])
    assert len(FeatureIndex(tmp_path, DIMENSION, {"weights": "b"})) == 0
