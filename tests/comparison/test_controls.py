from __future__ import annotations

import numpy as np
import pytest

import sightwords
from sightwords.comparison.controls import control_text
from sightwords.images.dataset import open_dataset
from sightwords.text.embedding_set import EmbeddingSet


@pytest.fixture
def dataset(images):
    return open_dataset(sightwords.EvaluateConfig("run", str(images)))


@pytest.fixture
def make(dataset, embeddings, tmp_path):
    def made(arm):
        (folder,) = control_text(arm, [embeddings], dataset.split("train"), dataset.class_names, tmp_path / "controls")
        return EmbeddingSet(folder)

    return made


def vectors(embeddings: EmbeddingSet, keys: list[str]) -> np.ndarray:
    """Return the one vector of each image."""
    rows = embeddings.rows_of(keys)
    assert (rows.num_texts == 1).all()
    return np.asarray(embeddings.vectors[rows.rows], np.float32)


@pytest.mark.parametrize("arm", ["shuffled", "shuffled_within_class"])
def test_shuffled_texts_are_the_same_texts_at_other_images(make, dataset, embeddings, arm):
    train = dataset.split("train")
    before, after = vectors(EmbeddingSet(embeddings), train.keys()), vectors(make(arm), train.keys())
    assert not (before == after).all(1).any()  # no image keeps its own
    classes = train.first_labels()
    for label in range(3) if arm == "shuffled_within_class" else (classes,):
        own = classes == label
        assert sorted(map(tuple, before[own].tolist())) == sorted(map(tuple, after[own].tolist()))


def test_random_vectors_are_of_unit_length_and_know_nothing(make, dataset):
    found = vectors(make("random_vectors"), dataset.split("train").keys())
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-2)
    assert len(np.unique(found, axis=0)) == len(found)


def test_class_names_follow_the_labels_that_the_network_is_trained_with(dataset, embeddings, tmp_path):
    train = dataset.split("train")
    moved = train.relabeled((train.first_labels() + 1) % 3)
    names = dataset.class_names
    (right,) = control_text("class_name", [embeddings], train, names, tmp_path / "right")
    (wrong,) = control_text("class_name", [embeddings], moved, names, tmp_path / "wrong")
    a, b = (vectors(EmbeddingSet(folder), train.keys()) for folder in (right, wrong))
    labels = train.first_labels()
    assert len(np.unique(a, axis=0)) == 3
    # equal but for the rounding of bf16: the texts stand in another order
    assert float(a[labels == 1][0] @ b[labels == 0][0]) > 0.99 > float(a[labels == 1][0] @ b[labels == 1][0])


def test_baseline_has_no_text_and_aligned_the_descriptions(dataset, embeddings, tmp_path):
    rest = (dataset.split("train"), dataset.class_names, tmp_path)
    assert control_text("baseline", [embeddings], *rest) == []
    assert control_text("aligned", [embeddings], *rest) == [embeddings]


def test_counted_words_have_a_word_for_each_class(dataset, described, tmp_path):
    words = tmp_path / "words"
    sightwords.embed(sightwords.EmbedConfig(described, encoder="builtin:words", out=words))
    train = dataset.split("train")
    (folder,) = control_text("class_name", [words], train, dataset.class_names, tmp_path / "controls")
    found = vectors(EmbeddingSet(folder), train.keys())
    assert (found == np.eye(3)[train.first_labels()]).all()
    assert EmbeddingSet(folder).meta["encoder"] == "builtin:words"
