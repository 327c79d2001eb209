"""No image is scored by a classifier that saw it, and swapped labels are found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.labels.noise import folds_of
from sightwords.labels.suspicion import OutOfFold, by_centroid, by_probe, find_suspicion, out_of_fold, suspects


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 30)
    centers = random.standard_normal((4, 12))
    vectors = (centers[labels] + 0.5 * random.standard_normal((120, 12))).astype(np.float32)
    return vectors, labels


@pytest.mark.parametrize("classifier", [by_centroid, by_probe])
def test_scores_do_not_depend_on_the_image_s_own_label(classifier, data):
    vectors, labels = data
    folds = folds_of(np.arange(120), labels, 5, 0)
    changed = labels.copy()
    changed[folds == 2] = (changed[folds == 2] + 1) % 4
    own, other = (
        out_of_fold(classifier, torch.from_numpy(vectors), y, folds, 4, lambda n: None) for y in (labels, changed)
    )
    # the fold's own labels say which score is read, not what the scores are
    out = folds == 2
    flipped = np.where(own.other[out] == changed[out], own.best[out], np.nan)
    known = ~np.isnan(flipped)
    assert known.any()
    np.testing.assert_allclose(other.own[out][known], flipped[known], rtol=1e-5)


@pytest.mark.parametrize("classifier", [by_centroid, by_probe])
def test_scores_find_the_class(classifier, data):
    vectors, labels = data
    scores = out_of_fold(
        classifier, torch.from_numpy(vectors), labels, folds_of(np.arange(120), labels, 5, 0), 4, lambda n: None
    )
    assert (scores.margin > 0).mean() > 0.9


def test_a_class_that_is_all_in_one_fold_is_not_an_error(data):
    vectors, labels = data
    labels = np.where(labels == 3, 0, labels)
    labels[5] = 3
    scores = out_of_fold(by_centroid, torch.from_numpy(vectors), labels, folds_of(np.arange(120), labels, 5, 0), 4,
                     lambda n: None)  # fmt: skip
    assert np.isfinite(scores.margin).all()
    assert scores.own[5] == -1


def test_swapped_labels_come_first(data):
    vectors, labels = data
    wrong = np.random.default_rng(1).choice(120, 6, replace=False)
    swapped = labels.copy()
    swapped[wrong] = (swapped[wrong] + 1) % 4
    found = find_suspicion(vectors, swapped, np.arange(120), 4, show=False)
    assert set(found.order()[:8].tolist()) >= set(wrong.tolist())
    assert (found.suggested[wrong] == labels[wrong]).all()
    assert found.is_suspect[wrong].mean() > 0.5
    assert found.is_suspect[np.setdiff1d(np.arange(120), wrong)].mean() < 0.05


def test_image_features_count_too_and_unseen_images_are_left_in_the_middle(data):
    vectors, labels = data
    features = vectors[:, ::-1].copy()
    features[7] = np.nan
    noise = np.random.default_rng(2).standard_normal(vectors.shape).astype(np.float32)
    found = find_suspicion(noise, labels, np.arange(120), 4, features, show=False)
    assert found.image is not None
    assert (found.image.margin > 0).mean() > 0.85
    assert found.image.margin[7] == 0
    assert np.isfinite(found.rank).all()


def test_a_label_is_suspect_only_where_both_name_the_same_other_class():
    similarity = OutOfFold(np.array([0.1, 0.1, 0.5, 0.1]), np.array([0.5, 0.5, 0.1, 0.5]), np.array([2, 1, 2, 2]))
    probe = OutOfFold(np.array([0.01, 0.01, 0.01, 0.2]), np.array([0.9, 0.9, 0.9, 0.7]), np.array([2, 2, 2, 2]))
    assert suspects(similarity, probe).tolist() == [True, False, False, False]
