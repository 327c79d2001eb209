"""A run keeps the projector that training learned, and a sentence comes to lie where its text lay in training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sightwords.align import normalize_targets
from sightwords.errors import ArtifactError, ConfigError, ModelError
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.models.inference import open_projection, top_predictions
from sightwords.models.run_folder import NetworkInfo, RunFolder, load_projectors
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.training.config import AlignConfig
from sightwords.training.run import train
from support.texts import write_vectors
from support.trainings import small_training


@pytest.fixture
def vectors(images, tmp_path):
    return write_vectors(tmp_path / "E", open_dataset(ImagesConfig(str(images)), show=False).split("train"))


def test_the_kept_projector_is_the_last_checkpoint_s(aligned):
    info, tensors = load_projectors(RunFolder(aligned.run))
    state = torch.load(max((aligned.run / "checkpoints").glob("*.pt")), weights_only=True)["task"]
    learned = {name.split("0.0.projector.")[1]: t for name, t in state.items() if ".heads.0.0.projector." in name}
    assert learned
    assert all(torch.equal(tensors[f"0.projector.{name}"], tensor) for name, tensor in learned.items())
    assert (info.loss, info.spaces[0].targets) == ("label_clip", "centered")
    plain = load_file(aligned.run / "model.safetensors")
    assert not any("projector" in name for name in plain)


def test_a_sentence_lies_where_its_description_lay(aligned):
    projection, embeddings = open_projection(RunFolder(aligned.run)), EmbeddingSet(aligned.embeddings)
    sentence = projection.of_sentence("a round red stone", "cpu")
    vectors = torch.from_numpy(np.asarray(embeddings.vectors, np.float32))
    expected = normalize_targets(vectors - torch.from_numpy(embeddings.mean))
    cosines = (torch.from_numpy(sentence) @ expected.T)[0]
    assert cosines.max() > 0.999
    torch.testing.assert_close(projection.of_texts(vectors), expected)


@pytest.mark.parametrize(("sentence", "message"), [("  ", "is empty"), ("red bird " * 20, "Shorten it")])
def test_sentences_that_cannot_be_searched_for(aligned, sentence, message):
    with pytest.raises(ConfigError, match=message):
        open_projection(RunFolder(aligned.run)).of_sentence(sentence, "cpu")


def test_other_weights_of_the_encoder_are_refused(aligned, tmp_path):
    shutil.copytree(aligned.run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    facts = json.loads((tmp_path / "run" / "projector.json").read_text())
    facts["spaces"][0]["revision"] = "0" * 64
    (tmp_path / "run" / "projector.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="has other weights"):
        open_projection(RunFolder(tmp_path / "run")).of_sentence("a red stone", "cpu")


def test_runs_that_cannot_be_searched_say_why(images, vectors, tmp_path, aligned):
    train(small_training(images, tmp_path / "baseline", epochs=1))
    with pytest.raises(ArtifactError, match="trained on labels alone"):
        open_projection(RunFolder(tmp_path / "baseline"))
    train(small_training(images, tmp_path / "relational", embeddings=[vectors], align=AlignConfig(loss="relational")))
    with pytest.raises(ArtifactError, match="objective relational, which does not bring"):
        open_projection(RunFolder(tmp_path / "relational"))
    assert not (tmp_path / "relational" / "projector.safetensors").exists()
    with pytest.raises(ConfigError, match="--space is 2"):
        open_projection(RunFolder(aligned.run), 2)
    shutil.copytree(aligned.run, tmp_path / "damaged", ignore=shutil.ignore_patterns("checkpoints"))
    (tmp_path / "damaged" / "projector.safetensors").write_bytes(b"short")
    with pytest.raises(ArtifactError, match="is damaged"):
        open_projection(RunFolder(tmp_path / "damaged"))


def test_early_stopping_keeps_the_projector_of_the_chosen_epoch_and_averages_are_kept(images, vectors, tmp_path):
    config = small_training(images, tmp_path / "run", embeddings=[vectors], ema=0.5, early_stopping=5, lr=3e-3)
    result = train(config)
    _, tensors = load_projectors(RunFolder(config.out))
    newest = sorted((config.out / "checkpoints").glob("*.pt"))
    epochs = {i + 1: torch.load(path, weights_only=True) for i, path in enumerate(newest)}
    chosen = epochs[int(result.metrics["chosen_epoch"])]["ema"]
    learned = {name.split("0.0.projector.")[1]: t for name, t in chosen.items() if "heads.0.0.projector." in name}
    assert learned
    assert all(torch.equal(tensors[f"0.projector.{name}"], tensor) for name, tensor in learned.items())


def test_the_most_probable_classes_come_first():
    half = (0.5, 0.5, 0.5)
    names = ["disc", "square", "bar"]
    info = NetworkInfo("timm:test_resnet", {}, {}, 3, ["a", "b", "c"], names, False, 32, "bicubic", 1.0, half, half)
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0]])
    first, second = top_predictions(info, logits, 9)
    assert [(one.class_id, one.class_name) for one in first] == [("b", "square"), ("c", "bar"), ("a", "disc")]
    assert [one.class_id for one in second] == ["a", "c", "b"]
    assert sum(one.probability for one in first) == pytest.approx(1)
    several = top_predictions(replace(info, multi_label=True), logits, 2)[0]
    assert [one.probability for one in several] == pytest.approx(torch.sigmoid(logits[0, [1, 2]]).tolist())
