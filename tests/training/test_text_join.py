"""The text of training images: which of several descriptions are used, and how they are weighted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.training.config import AlignConfig
from sightwords.training.data import TextJoin


@pytest.fixture
def train_set(images):
    return open_dataset(ImagesConfig(str(images)), show=False).split("train")


@pytest.fixture
def join(train_set, tmp_path):
    """Image i has i % 4 descriptions; the s-th one's vector is (i, s)."""
    owners = [(i, s) for i in range(len(train_set)) for s in range(i % 4)]
    index = {
        "key": [train_set.key(i) for i, _ in owners],
        "prompt": ["plain"] * len(owners), "describer": ["test"] * len(owners),
        "sample": [s for _, s in owners], "row": list(range(len(owners))),
    }  # fmt: skip
    vectors = np.array(owners, np.float32)
    embeddings = EmbeddingSet.write(tmp_path / "E", vectors, vectors.mean(0), index, {"encoder": "test"})

    def build(seed: int = 0, **options):
        return TextJoin(embeddings, embeddings.rows_of(train_set.keys()), train_set, seed, AlignConfig(**options))

    return build


def test_one_is_drawn_per_epoch_and_each_gets_its_turn(join):
    indices = np.arange(8)
    drawn = [join()(indices, epoch) for epoch in range(30)]
    vectors = torch.stack([text.vectors for text in drawn])
    assert vectors.shape == (30, 8, 2)
    assert drawn[0].weight.tolist() == [0, 1, 1, 1, 0, 1, 1, 1]
    for i in [i for i in range(8) if i % 4]:
        assert set(vectors[:, i, 0].tolist()) == {i}
        assert set(vectors[:, i, 1].tolist()) == set(range(i % 4))
    assert torch.equal(join()(indices[::-1].copy(), 7).vectors.flip(0), vectors[7])  # by seed, epoch and key alone
    assert not torch.equal(join(seed=1)(indices, 7).vectors, vectors[7])


def test_their_mean(join):
    text = join(descriptions="mean")(np.array([3, 0, 2]), 0)
    assert text.vectors.tolist() == [[3, 1], [0, 0], [2, 0.5]]
    assert text.weight.tolist() == [1, 0, 1]


def test_several_at_once_are_repeated_if_an_image_has_fewer(join):
    text = join(descriptions="all", max_descriptions=8)(np.array([3, 0, 2, 1]), 0)
    assert text.vectors.shape == (4, 3, 2)
    assert text.vectors[:, :, 1].tolist() == [[0, 1, 2], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert text.weight.tolist() == [1, 0, 1, 1]
    two = join(descriptions="all", max_descriptions=2)
    pairs = {tuple(two(np.array([3]), epoch).vectors[0, :, 1].tolist()) for epoch in range(30)}
    assert pairs == {(0, 1), (1, 2), (2, 0)}


def test_all_descriptions_in_chunks(join):
    owners, vectors = (np.concatenate(parts) for parts in zip(*join().chunks(), strict=True))
    assert np.array_equal(vectors[:, 0], owners)
    assert len(owners) == 36
