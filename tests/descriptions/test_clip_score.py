"""CLIP scores by a real CLIP model with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sightwords.descriptions.clip_score import ClipScorer
from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describe import describe
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError, ModelError
from sightwords.images.decode import decode_image
from sightwords.images.keys import image_key
from support.chat_server import chat, chat_server

SENTENCES = ["A red bird.", "Two blue leaves near the water."]


@pytest.fixture
def model(tiny_clip):
    return f"openclip:sightwords-tiny/{tiny_clip / 'model.pt'}"


def test_vectors_are_those_of_the_library(model, tiny_clip):
    import open_clip

    network, _, preprocess = open_clip.create_model_and_transforms("sightwords-tiny", str(tiny_clip / "model.pt"))
    network.eval()
    images = [Image.effect_noise((50, 40), 90).convert("RGB"), Image.new("RGB", (30, 60), "red")]
    with torch.no_grad():
        expected = network.encode_image(torch.stack([preprocess(image) for image in images]), normalize=True).numpy()
        texts = network.encode_text(open_clip.get_tokenizer("sightwords-tiny")(SENTENCES), normalize=True).numpy()
    scorer = ClipScorer(model, "cpu")
    np.testing.assert_allclose(scorer.images(images), expected, atol=1e-5)
    mean = texts.mean(0) / np.linalg.norm(texts.mean(0))
    np.testing.assert_allclose(scorer.texts([*SENTENCES, " ".join(SENTENCES)]), [*texts, mean], atol=1e-5)


def test_every_description_is_scored_once(photos, tmp_path, model, monkeypatch):
    options = {"out": tmp_path / "d.db", "tries": 1, "device": "cpu", "batch_size": 2}
    with chat_server(lambda call: chat("" if len(served.calls) == 1 else f"A bird of {len(served.calls)}.")) as served:
        options["describer"] = f"server:tiny@{served.url}"
        describe(DescribeConfig(str(photos), **options))
        describe(DescribeConfig(str(photos), **options, clip_score=model))  # nothing to ask, only to score
        assert len(served.calls) == 5
    scorer = ClipScorer(model, "cpu")
    files = {image_key(path.read_bytes()): path for path in photos.rglob("*.*") if path.is_file()}
    with DescriptionSet(options["out"]) as store:
        rows = list(store.descriptions())
        assert len(rows) == 4
        assert [row.clip_score for row in store.descriptions("rejected")] == [None]
    for row in rows:
        image = scorer.images([decode_image(files[row.key].read_bytes(), row.key)])[0]
        assert row.clip_score == pytest.approx(float(image @ scorer.texts([row.text])[0]), abs=1e-5)
    monkeypatch.setattr(ClipScorer, "images", lambda *_: pytest.fail("scored again"))
    describe(DescribeConfig(str(photos), **options, clip_score=model))


def test_models_that_cannot_be_loaded(tmp_path, tiny_clip):
    with pytest.raises(ConfigError, match="--clip-score.*openclip:"):
        ClipScorer("clip", "cpu")
    (tmp_path / "broken.pt").write_bytes(b"broken")
    with pytest.raises(ModelError, match="--clip-score openclip:sightwords-tiny"):
        ClipScorer(f"openclip:sightwords-tiny/{tmp_path / 'broken.pt'}", "cpu")
