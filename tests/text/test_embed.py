"""From a description set to an embedding set."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from sightwords.descriptions.schema import DescriberInfo, Description, Prompt, Review
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError, UnknownNameError
from sightwords.text import embed
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import embed as run
from sightwords.text.embed import mean_vector, read_texts
from sightwords.text.embedding_set import INDEX_SCHEMA, EmbeddingSet
from sightwords.text.encode import encode_here
from sightwords.text.encoders import open_encoder

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
SENTENCES = ["A small red bird with a long tail."] * 4 + ["It is near the water, under a tree."] * 3  # the long text


def test_every_usable_description_finds_its_own_vector(config, tiny_st):
    result = run(config)
    found = EmbeddingSet(config.out)
    index = found.index().to_pylist()
    assert [(row["key"], row["prompt"], row["describer"], row["sample"], row["row"]) for row in index] == [
        (A, "plain", "hf:one", 0, 0),
        (A, "short", "hf:two", 0, 1),
        (B, "plain", "hf:one", 0, 1),
        (B, "plain", "hf:one", 1, 2),
    ]
    encoder = open_encoder(config.encoder, "cpu")
    for row, text in ((1, "a red bird"), (2, "a blue bird")):
        expected = encoder.encode([text])[0]
        np.testing.assert_allclose(found.vectors[row], expected / np.linalg.norm(expected), atol=1e-3)
    assert np.abs(found.vectors[1].astype(float) - found.vectors[2]).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm(found.vectors.astype(np.float32), axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(found.mean, found.vectors[[0, 1, 1, 2]].astype(np.float32).mean(0), atol=1e-3)
    meta = json.loads((config.out / "meta.json").read_text())
    assert result.meta == found.meta == meta
    expected = {"encoder": f"st:{tiny_st}", "model": str(tiny_st), "max_tokens": 16, "dimension": 32}
    expected |= {"num_descriptions": 4, "num_vectors": 3, "num_images": 2, "precision": "fp32"}
    expected |= {"prompts": ["plain", "short"], "describers": ["hf:one", "hf:two"]}
    assert expected.items() <= meta.items()
    assert [one["name"] for one in meta["prompt_texts"]] == meta["prompts"]
    assert [one["identifier"] for one in meta["describer_models"]] == meta["describers"]
    assert shlex.split(result.next_command)[:5] == ["sightwords", "train", "IMAGES", "--embeddings", str(config.out)]


def test_a_long_text_is_the_mean_of_its_pieces(config):
    found = run(config)
    encoder = open_encoder(config.encoder, "cpu")
    # a limit of 16: 9 words and signs with 2 special tokens do not go together with another sentence
    assert encoder.num_tokens(SENTENCES) == [11] * 4 + [13] * 3
    vectors = encoder.encode(SENTENCES)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pooled = np.average(vectors, axis=0, weights=[11] * 4 + [13] * 3)
    np.testing.assert_allclose(EmbeddingSet(config.out).vectors[0], pooled / np.linalg.norm(pooled), atol=1e-3)
    assert (found.meta["num_split_texts"], found.meta["num_pieces"]) == (1, 9)
    assert "1 texts are longer than 16 tokens" in found.summary()


def test_each_distinct_text_is_encoded_once(config, monkeypatch):
    seen: list[str] = []
    monkeypatch.setattr(
        embed, "encode_here", lambda e, batches: encode_here(e, [seen.extend(b.pieces) or b for b in batches])
    )
    run(config)
    assert sorted(seen) == sorted([*SENTENCES, "a red bird", "a blue bird"])


def test_a_second_run_does_nothing_until_something_changes(config):
    assert not run(config).skipped
    before = (config.out / "vectors.npy").stat().st_mtime_ns
    again = run(config)
    assert again.skipped
    assert "up to date" in again.summary()
    assert (config.out / "vectors.npy").stat().st_mtime_ns == before
    with DescriptionSet(config.descriptions) as store:
        store.put([Description(C, 1, 1, 0, "a green leaf")])
    more = run(config)
    assert not more.skipped
    assert more.meta["num_descriptions"] == 5
    assert not run(EmbedConfig(config.descriptions, out=config.out, encoder=config.encoder, prompt=["short"])).skipped


def test_other_weights_and_damage_are_noticed(config, build_st, tmp_path):
    config.encoder = f"st:{tmp_path / 'mine'}"
    build_st(tmp_path / "first", seed=1).rename(tmp_path / "mine")
    first = run(config).meta["revision"]
    (tmp_path / "mine").rename(tmp_path / "old")
    build_st(tmp_path / "second", seed=2).rename(tmp_path / "mine")
    assert run(config).meta["revision"] != first
    (config.out / "vectors.npy").write_bytes(b"\x93NUMPY broken")
    assert not run(config).skipped
    assert EmbeddingSet(config.out).dimension == 32


def test_only_the_wanted_prompts(config):
    config.prompt = ["short"]
    result = run(config)
    assert [row["prompt"] for row in EmbeddingSet(config.out).index().to_pylist()] == ["short"]
    assert result.meta["prompts"] == ["short"]
    config.prompt = ["shrt"]
    with pytest.raises(UnknownNameError, match="Did you mean: short"):
        run(config)


def test_only_what_the_condition_holds_for(config):
    with DescriptionSet(config.descriptions) as store:
        store.put([Description(B, 1, 1, 0, "a red bird", clip_score=0.3), Description(C, 1, 1, 0, "x", clip_score=0.1)])
    everything = run(config).meta
    scores = EmbeddingSet(config.out).index().to_pydict()["clip_score"]
    assert scores == [None, None, pytest.approx(0.3), None, pytest.approx(0.1)]
    config.where = "prompt = 'plain' and clip_score > 0.2"
    result = run(config)
    assert [(row["key"], row["sample"]) for row in EmbeddingSet(config.out).index().to_pylist()] == [(B, 0)]
    assert result.meta["fingerprint"] != everything["fingerprint"]
    assert f"only where {config.where}" in result.summary()
    assert run(config).skipped
    for wrong, error in (("clip_score > 0.9", ArtifactError), ("clip_scor > 0.9", ConfigError)):
        config.where = wrong
        with pytest.raises(error, match=wrong.split()[0]):
            run(config)
    assert EmbeddingSet(config.out).meta == result.meta


def test_nothing_usable_is_an_error(tmp_path):
    config = _write(tmp_path / "D.db", [])
    with pytest.raises(ArtifactError, match="no usable description.*it is empty"):
        run(config)
    config = _write(tmp_path / "D.db", [Description(A, 1, 1, 0, "no", "rejected", "refusal")])
    with pytest.raises(ArtifactError, match="no usable description.*1 rejected"):
        run(config)
    with pytest.raises(ArtifactError, match="no description set"):
        run(EmbedConfig(tmp_path / "none.db", out=tmp_path / "D"))
    assert not config.out.exists()


@pytest.mark.parametrize("content", [["photo.jpg"], ["photo.jpg", "meta.json"], [], None])
def test_a_place_that_holds_anything_else_is_left_alone(config, content):
    if content is None:
        config.out.write_text("a file")
    else:
        config.out.mkdir()
        for name in content:
            (config.out / name).write_text("mine")
    with pytest.raises(ArtifactError, match="Name another"):
        run(config)
    assert config.out.is_file() if content is None else sorted(p.name for p in config.out.iterdir()) == sorted(content)


def test_mean_counts_descriptions_and_not_texts():
    vectors = np.random.default_rng(0).normal(size=(9000, 2))
    rows = np.random.default_rng(1).integers(0, 9000, 20_000)
    np.testing.assert_allclose(mean_vector(vectors, rows), vectors[rows].mean(0), atol=1e-6)


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


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_distinct_texts_as_they_first_appear(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(embed, "_ROWS_AT_ONCE", at_once)
    found = read_texts(_write(tmp_path / "D.db", ROWS))
    assert found.distinct == ["red", "blue"]
    assert found.index.schema == INDEX_SCHEMA
    columns = {name: found.index[name].to_pylist() for name in ("key", "prompt", "row", "clip_score")}
    assert columns == {
        "key": ["a", "a", "b"],
        "prompt": ["plain", "class", "plain"],
        "row": [0, 1, 0],
        "clip_score": [0.5, None, None],
    }
    assert (found.provenance["prompts"], found.provenance["describers"]) == (["class", "plain"], ["hf:one"])


def test_the_fingerprint_follows_all_that_matters(tmp_path):
    def fingerprint(name: str, rows: list[Description] = ROWS, where: str | None = None, **changed: str) -> str:
        config = _write(tmp_path / f"{name}.db", rows, **changed)
        config.where = where
        return str(read_texts(config).provenance["fingerprint"])

    assert fingerprint("0") == fingerprint("1") == fingerprint("2", where="1")
    assert fingerprint("3", where="key = 'a'") == fingerprint("4", ROWS[:2])
    changes = [
        [*ROWS[:2], Description("b", 1, 1, 0, "Red")],
        [*ROWS[:2], Description("b", 1, 1, 1, "red")],
        [*ROWS[:2], Description("b", 2, 1, 0, "red")],
        [Description("a", 1, 1, 0, "red", clip_score=0.25), *ROWS[1:]],
        [Description("a", 1, 1, 0, "red"), *ROWS[1:]],
    ]
    found = {fingerprint(f"c{i}", rows) for i, rows in enumerate(changes)}
    found |= {fingerprint("5"), fingerprint("t", template="new"), fingerprint("r", revision="2")}
    assert len(found) == 8


def test_what_people_decided_is_kept_to_and_who_edited_is_named(tmp_path):
    config = _write(tmp_path / "D.db", ROWS)
    with DescriptionSet(tmp_path / "D.db") as store:
        store.add_reviews([Review.of(store.current("b")[0], "edit", "human:anna", "crimson")])
        store.add_reviews([Review.of(store.current("a")[1], "reject", "human:bob")])
        store.add_reviews([Review.of(store.current("c")[0], "edit", "human:anna", "emerald")])
    found = read_texts(config)
    assert found.distinct == ["red", "crimson", "emerald"]
    assert found.index["key"].to_pylist() == ["a", "b", "c"]
    assert found.provenance["describers"] == ["hf:one", "human:anna"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"precision": "int8"}, "--precision is 'int8'.*auto, fp32, bf16 or fp16"),
        ({"engine": "spark"}, "--engine is 'spark'.*local or ray"),
        ({"ray_workers": 0}, "--ray-workers is 0"),
    ],
)
def test_wrong_options_are_refused(wrong, message):
    assert EmbedConfig("D.db", out="E", prompt="plain").prompt == ["plain"]  # a lone prompt is one name
    with pytest.raises(ConfigError, match=message):
        EmbedConfig("D.db", out="E", **wrong)
