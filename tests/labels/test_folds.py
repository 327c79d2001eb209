"""Images that share a text stay together, and classes are spread."""

from __future__ import annotations

import numpy as np

from sightwords.labels.noise import folds_of, groups_of


def test_images_that_share_a_text_are_one_group():
    owners, rows = np.array([0, 0, 1, 2, 3, 4]), np.array([5, 6, 6, 7, 8, 7])
    groups = groups_of(owners, rows, 5)
    assert groups[0] == groups[1]
    assert groups[2] == groups[4]
    assert len(set(groups.tolist())) == 3


def test_folds_keep_groups_together_and_spread_classes():
    groups, labels = np.repeat(np.arange(40), 3), np.repeat(np.arange(4), 30)
    folds = folds_of(groups, labels, 5, seed=0)
    assert all(len(set(folds[groups == group].tolist())) == 1 for group in range(40))
    assert all((np.bincount(folds[labels == label], minlength=5) == 6).all() for label in range(4))
    assert (folds != folds_of(groups, labels, 5, seed=1)).any()
    assert set(folds_of(np.zeros(6, int), np.zeros(6, int), 5, 0).tolist()) == {0}
