"""How well image and text agree, by a real CLIP model with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sightwords.descriptions import clip_score
from sightwords.descriptions.clip_score import open_scorer
from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describe import describe as run
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError, ModelError
from sightwords.images.member import image_key
from support.chat_server import chat, chat_server

SENTENCES = ["A red bird.", "Two blue leaves near the water."]


@pytest.fixture
def scorer(tiny_clip):
    return open_scorer(f"openclip:sightwords-tiny/{tiny_clip / 'model.pt'}", "cpu")


def test_vectors_are_those_of_the_library(scorer, tiny_clip):
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(
        "sightwords-tiny", pretrained=str(tiny_clip / "model.pt")
    )
    model.eval()
    pictures = [Image.effect_noise((50, 40), 90).convert("RGB"), Image.new("RGB", (30, 60), "red")]
    tokenizer = open_clip.get_tokenizer("sightwords-tiny")
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(p) for p in pictures]), normalize=True).numpy()
        texts = model.encode_text(tokenizer(SENTENCES), normalize=True).numpy()
    np.testing.assert_allclose(scorer.images(pictures), images, atol=1e-5)
    np.testing.assert_allclose(scorer.texts(SENTENCES), texts, atol=1e-5)
    mean = texts.mean(0) / np.linalg.norm(texts.mean(0))
    np.testing.assert_allclose(scorer.texts([" ".join(SENTENCES)])[0], mean, atol=1e-5)


def test_every_usable_description_gets_its_score_once(photos, tmp_path, tiny_clip, monkeypatch):
    out, model = tmp_path / "d.db", f"openclip:sightwords-tiny/{tiny_clip / 'model.pt'}"
    options = {"out": out, "tries": 1, "device": "cpu", "batch_size": 2}
    with chat_server(lambda call: chat("" if len(served.calls) == 1 else f"A bird of {len(served.calls)}.")) as served:
        options["describer"] = f"server:tiny@{served.url}"
        run(DescribeConfig(str(photos), **options))
        run(DescribeConfig(str(photos), **options, clip_score=model))  # nothing to ask, only to score
        assert len(served.calls) == 5
    with DescriptionSet(out) as store:
        rows = list(store.descriptions())
        assert len(rows) == 4
        assert store.agreement_model.startswith("openclip:sightwords-tiny/")
        (rejected,) = store.descriptions("rejected")
        assert rejected.agreement is None
    scorer = open_scorer(model, "cpu")
    pictures = {image_key(path.read_bytes()): path for path in photos.rglob("*.*") if path.is_file()}
    for row in rows:
        image = scorer.images([clip_score.decode_image(pictures[row.key].read_bytes())])[0]
        assert row.agreement == pytest.approx(float(image @ scorer.texts([row.text])[0]), abs=1e-5)
    monkeypatch.setattr(type(scorer), "images", lambda *_: pytest.fail("scored again"))
    run(DescribeConfig(str(photos), **options, clip_score=model))


def test_what_cannot_be_had_is_told(tmp_path):
    with pytest.raises(ConfigError, match="--agreement is 'clip'; it must be openclip:"):
        open_scorer("clip", "cpu")
    (tmp_path / "broken.pt").write_bytes(b"broken")
    with pytest.raises(ModelError, match="Cannot load --agreement openclip:ViT-B-32"):
        open_scorer(f"openclip:ViT-B-32/{tmp_path / 'broken.pt'}", "cpu")
