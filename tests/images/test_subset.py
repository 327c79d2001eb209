from __future__ import annotations

import numpy as np
import pytest

from sightwords.errors import DataError
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import Split, open_dataset
from sightwords.images.references import ImageReference
from sightwords.images.seeds import derive_seed
from sightwords.images.subset import hold_out, make_subset, stratified


def images_of(*sizes: int) -> Split:
    """Return a set of classes of these sizes; no file stands behind it."""
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    names = [f"{label}/{number}.png" for number, label in enumerate(labels)]
    keys = [f"{derive_seed(name):064x}" for name in names]
    return Split.of([ImageReference(name, name, 0, 1) for name in names], keys, [[label] for label in labels])


def test_defaults_change_nothing():
    images = images_of(5, 5)
    assert make_subset(images, 2) is images


def test_a_fraction_takes_the_same_share_of_every_class_and_is_nested():
    images = images_of(80, 40)
    half, quarter = make_subset(images, 2, train_fraction=0.5), make_subset(images, 2, train_fraction=0.25)
    assert np.bincount(half.first_labels()).tolist() == [40, 20]
    assert np.bincount(quarter.first_labels()).tolist() == [20, 10]
    assert set(quarter.keys()) < set(half.keys())


def test_long_tail_is_exponential_from_the_first_class_to_the_last():
    thinner = make_subset(images_of(100, 100, 100), 3, long_tail=100)
    assert np.bincount(thinner.first_labels()).tolist() == [100, 10, 1]


def test_label_noise_is_of_its_share_uniform_and_nested():
    images = images_of(3000, 3000, 3000)
    truth = images.first_labels()
    wrong = {share: make_subset(images, 3, label_noise=share).first_labels() for share in (0.2, 0.5)}
    assert (wrong[0.5] != truth).mean() == pytest.approx(0.5, abs=0.02)
    changed = wrong[0.2] != truth
    assert (wrong[0.5][changed] == wrong[0.2][changed]).all()
    of_first = wrong[0.5][(truth == 0) & (wrong[0.5] != 0)]
    assert (of_first == 1).mean() == pytest.approx(0.5, abs=0.05)
    assert images.first_labels().tolist() == truth.tolist()  # the set itself is as it was


def test_label_noise_needs_one_label_an_image():
    images = Split.of([ImageReference("a", "a", 0, 1)], ["0" * 64], [[0, 1]])
    with pytest.raises(DataError, match="--label-noise needs one label"):
        make_subset(images, 2, label_noise=0.5)


def test_few_labels_keep_all_images_and_the_labels_of_the_same_share_of_every_class():
    images = images_of(80, 40)
    few, fewer = make_subset(images, 3, label_fraction=0.5), make_subset(images, 3, label_fraction=0.25)
    assert few.keys() == images.keys()
    known = few.first_labels() >= 0
    assert (few.first_labels()[known] == images.first_labels()[known]).all()
    assert np.bincount(few.first_labels()[known]).tolist() == [40, 20]
    assert (few.first_labels()[fewer.first_labels() >= 0] >= 0).all()  # nested
    with pytest.raises(DataError, match="--label-fraction needs one label"):
        make_subset(few, 3, label_fraction=0.5)


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
