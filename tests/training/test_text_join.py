from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.errors import ArtifactError
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.training.batches import TextJoin, TextJoins
from sightwords.training.config import AlignConfig


@pytest.fixture
def train_set(images):
    return open_dataset(ImagesConfig(str(images)), show=False).split("train")


@pytest.fixture
def embeddings(train_set, tmp_path):
    """Image i has i % 4 descriptions; the s-th one's vector is (i, s) and its CLIP score s / 10."""
    owners = [(i, s) for i in range(len(train_set)) for s in range(i % 4)]
    index = {
        "key": [train_set.key(i) for i, _ in owners],
        "prompt": ["plain"] * len(owners), "describer": ["test"] * len(owners),
        "sample": [s for _, s in owners], "row": list(range(len(owners))), "clip_score": [s / 10 for _, s in owners],
    }  # fmt: skip
    vectors = np.array(owners, np.float32)
    return EmbeddingSet.write(tmp_path / "E", vectors, vectors.mean(0), index, {"encoder": "test"}).folder


def test_one_is_drawn_an_epoch_and_each_gets_its_turn(train_set, embeddings):
    join = TextJoin(embeddings, train_set, 0, AlignConfig())
    indices = np.arange(8)
    drawn = [join(indices, epoch) for epoch in range(30)]
    vectors = torch.stack([vectors for vectors, _ in drawn])
    assert vectors.shape == (30, 8, 2)
    for i in range(8):
        assert drawn[0][1][i] == float(i % 4 > 0)
        if i % 4:
            assert set(vectors[:, i, 0].tolist()) == {i}
            assert set(vectors[:, i, 1].tolist()) == set(range(i % 4))
    again = TextJoin(embeddings, train_set, 0, AlignConfig())
    assert torch.equal(again(indices[::-1].copy(), 7)[0].flip(0), vectors[7])  # a function of seed, epoch and key
    assert not torch.equal(TextJoin(embeddings, train_set, 1, AlignConfig())(indices, 7)[0], vectors[7])


def test_their_mean(train_set, embeddings):
    vectors, weight = TextJoin(embeddings, train_set, 0, AlignConfig(descriptions="mean"))(np.array([3, 0, 2]), 0)
    assert vectors.tolist() == [[3, 1], [0, 0], [2, 0.5]]
    assert weight.tolist() == [1, 0, 1]


def test_several_at_once_repeat_where_there_are_fewer(train_set, embeddings):
    config = AlignConfig(descriptions="all", max_descriptions=8)
    join = TextJoin(embeddings, train_set, 0, config)
    vectors, weight = join(np.array([3, 0, 2, 1]), 0)
    assert vectors.shape == (4, 3, 2)
    assert vectors[:, :, 1].tolist() == [[0, 1, 2], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert weight.tolist() == [1, 0, 1, 1]
    two = TextJoin(embeddings, train_set, 0, AlignConfig(descriptions="all", max_descriptions=2))
    pairs = {tuple(two(np.array([3]), epoch)[0][0, :, 1].tolist()) for epoch in range(30)}
    assert pairs == {(0, 1), (1, 2), (2, 0)}


def test_clip_score_weighs(train_set, embeddings):
    join = TextJoin(embeddings, train_set, 0, AlignConfig(descriptions="mean", clip_score=True))
    vectors, weight = join(np.array([3, 1]), 0)
    torch.testing.assert_close(vectors[0], torch.tensor([3.0, (1 * 0.1 + 2 * 0.2) / 0.3]))
    # six groups of images with 0, 1, 2 and 3 texts: scores of 0, 0.1, 0.2 and their mean over all texts
    mean = (6 * 0.1 + 6 * 0.1 + 6 * 0.2) / (6 * 6)
    torch.testing.assert_close(weight, torch.tensor([0.1 / mean, 0.0]))


def test_clip_score_that_was_not_scored_is_told(train_set, tmp_path):
    vectors = np.ones((1, 2), np.float32)
    index = {"key": [train_set.key(0)], "prompt": ["p"], "describer": ["d"], "sample": [0], "row": [0]}
    EmbeddingSet.write(tmp_path / "E", vectors, vectors[0], index, {"encoder": "test"})
    with pytest.raises(ArtifactError, match="no CLIP scores.*--clip-score"):
        TextJoin(tmp_path / "E", train_set, 0, AlignConfig(clip_score=True))


def test_several_sets_stand_side_by_side(train_set, embeddings):
    join = TextJoin(embeddings, train_set, 0, AlignConfig(descriptions="mean"))
    extra = TextJoins([join, join])(np.array([3, 0]), 0)
    assert list(extra) == ["text0", "weight0", "text1", "weight1"]
    assert torch.equal(extra["text0"], extra["text1"])


def test_all_descriptions_in_chunks(train_set, embeddings):
    join = TextJoin(embeddings, train_set, 0, AlignConfig())
    owners, vectors = (np.concatenate(parts) for parts in zip(*join.chunks(), strict=True))
    assert np.array_equal(vectors[:, 0], owners)
    assert len(owners) == 36
