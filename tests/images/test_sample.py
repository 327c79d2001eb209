from __future__ import annotations

import numpy as np
import pytest

from sightwords.errors import DataError
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.images.subset import hold_out, stratified


@pytest.fixture
def train_set(images):
    return open_dataset(ImagesConfig(str(images)), show=False).split("train")


def test_limit_is_stratified_and_grows(images, train_set):
    for limit in (3, 6, 24, 99):
        chosen = stratified(train_set, limit)
        labels = [int(train_set.labels(i)[0]) for i in chosen]
        assert len(chosen) == min(limit, 24)
        assert max(map(labels.count, labels)) - min(labels.count(c) for c in range(3)) <= 1
        assert set(stratified(train_set, 3)) <= set(chosen)
    assert len(open_dataset(ImagesConfig(str(images), limit=5), show=False).split("train")) == 5


def test_held_out_images_are_a_share_of_each_class(train_set):
    kept, held = hold_out(train_set, 0.25, 3)
    assert len(kept) + len(held) == len(train_set)
    assert set(kept.keys()).isdisjoint(held.keys())
    assert np.bincount(held.first_labels()).tolist() == [round(0.25 * n) for n in np.bincount(train_set.first_labels())]
    assert hold_out(train_set, 0.25, 3)[1].keys() == held.keys()
    some = train_set.relabeled(np.where(np.arange(len(train_set)) % 2, train_set.first_labels(), -1))
    assert (hold_out(some, 0.25, 3)[1].first_labels() >= 0).all()  # where a class is not known, nothing is measured
    assert (hold_out(some, 0.25, 3, multi_label=True)[1].first_labels() < 0).any()
    assert hold_out(train_set, 0.25, 4)[1].keys() != held.keys()
    with pytest.raises(DataError, match="leaves a side empty"):
        hold_out(train_set, 0.01, 3)
