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


@pytest.mark.parametrize("class_name", TEXTS)
def test_a_sentence_finds_the_images_that_it_describes(options, class_name):
    result = run(replace(options, sentence=TEXTS[class_name], top=66))
    assert result.num_images == 66
    right = [hit.label == class_name for hit in result.hits]
    assert sum(right[:22]) >= 19, right  # 22 images of each class, in both splits
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)


def test_a_second_search_looks_at_no_image_again(options, monkeypatch):
    first = run(options)
    assert first.num_new == 66
    monkeypatch.setattr(module, "TrainedNetwork", None)
    second = run(options)
    assert second.num_new == 0
    assert second.hits == first.hits


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
    with pytest.raises(ArtifactError, match="no index of images"):
        run(options)
    assert (options.index / "thesis.txt").read_text() == "mine"


DIMENSION = 8


def keys_of(numbers):
    return np.frombuffer(b"".join(hashlib.sha256(bytes([n])).digest() for n in numbers), np.uint8).reshape(-1, 32)


def vectors_of(numbers):
    return np.repeat(np.array([*numbers], np.float32)[:, None], DIMENSION, axis=1)


def holds(index, numbers):
    places = index.find(keys_of(numbers))
    return (places >= 0).all() and (index.vectors[places] == vectors_of(numbers)).all()


@pytest.mark.parametrize(("vectors_cut", "keys_cut"), [(0, 0), (1, 0), (0, 1), (16, 32), (20, 0), (40, 40)])
def test_whatever_instant_a_kill_comes_at_the_index_holds_whole_rows(tmp_path, vectors_cut, keys_cut):
    index = FeatureIndex(tmp_path, DIMENSION, {"weights": "a"})
    index.append(keys_of([1, 2, 3]), vectors_of([1, 2, 3]))
    assert index.find(keys_of([2, 7])).tolist() == [1, -1]
    for name, cut in (("vectors.npy", vectors_cut), ("keys.bin", keys_cut)):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) - cut])
    index = FeatureIndex(tmp_path, DIMENSION, {"weights": "a"})
    kept = 3 - max(-(-vectors_cut // 16), -(-keys_cut // 32))
    assert len(index) == kept
    assert holds(index, range(1, kept + 1))
    index.append(keys_of([9]), vectors_of([9]))
    again = FeatureIndex(tmp_path, DIMENSION, {"weights": "a"})
    assert len(again) == kept + 1
    assert holds(again, [*range(1, kept + 1), 9])
    assert np.load(tmp_path / "vectors.npy").shape == (kept + 1, DIMENSION)
    assert len(FeatureIndex(tmp_path, DIMENSION, {"weights": "b"})) == 0
