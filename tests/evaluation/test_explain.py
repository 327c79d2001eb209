from __future__ import annotations

import json

import pytest

from sightwords.errors import ArtifactError, ConfigError, DataError
from sightwords.evaluation.config import ExplainConfig
from sightwords.evaluation.explain import explain
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from support.aligned_run import TEXTS, write_descriptions
from support.texts import write_vectors


def test_predictions_and_the_nearest_descriptions(aligned, tmp_path):
    images = [str(aligned.images / "val" / name / "001.png") for name in TEXTS]
    result = explain(ExplainConfig(aligned.run, images, top=3, out=tmp_path / "near.jsonl", device="cpu"))
    assert [one.image for one in result.explanations] == images
    right = 0
    for name, one in zip(TEXTS, result.explanations, strict=True):
        assert sum(p.probability for p in one.predictions) == pytest.approx(1, abs=1e-4)
        assert sorted(near.text for near in one.descriptions) == sorted(TEXTS.values())
        right += (one.descriptions[0].text, one.descriptions[0].class_name) == (TEXTS[name], name)
        assert one.descriptions[0].name.startswith("train/")
    assert right >= 2
    lines = [json.loads(line) for line in (tmp_path / "near.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == images
    assert TEXTS["disc"] in result.summary()


def test_what_is_missing_is_named(aligned, tmp_path):
    image = aligned.images / "val" / "disc" / "001.png"
    with pytest.raises(DataError, match="cannot be read.*nothing.png: No such file"):
        explain(ExplainConfig(aligned.run, [tmp_path / "nothing.png"], device="cpu"))
    with pytest.raises(ConfigError, match="No images"):
        ExplainConfig(aligned.run, [])
    with pytest.raises(ArtifactError, match="--descriptions"):
        explain(ExplainConfig(aligned.run, [image], descriptions=tmp_path / "none.db", device="cpu"))
    of_val = write_descriptions(aligned.images, tmp_path / "val.db", ("val",))
    with pytest.raises(ArtifactError, match="lacks the texts of 3 of 3"):
        explain(ExplainConfig(aligned.run, [image], descriptions=of_val, device="cpu"))
    train = open_dataset(ImagesConfig(str(aligned.images)), show=False).split("train")
    other = write_vectors(tmp_path / "other", train, dimension=32)
    with pytest.raises(ArtifactError, match="vectors of test .* trained with st:"):
        explain(ExplainConfig(aligned.run, [image], embeddings=other, device="cpu"))
