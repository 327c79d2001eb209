from __future__ import annotations

import pytest
import torch

from sightwords.evaluation.feature_metrics import linear_probe_accuracy


def test_what_can_be_separated_is_separated():
    draw = torch.Generator().manual_seed(0)
    centers = 4 * torch.randn(5, 16, generator=draw)
    labels = torch.arange(300) % 5
    features = centers[labels] + torch.randn(300, 16, generator=draw)
    scaled = features * torch.logspace(-3, 3, 16)  # standardizing takes the scales out
    assert linear_probe_accuracy(scaled[200:], labels[200:], scaled[:200], labels[:200]) > 0.97


def test_features_that_know_nothing_give_chance():
    draw = torch.Generator().manual_seed(0)
    features, labels = torch.randn(1200, 4, generator=draw), torch.randint(0, 4, (1200,), generator=draw)
    assert linear_probe_accuracy(features[600:], labels[600:], features[:600], labels[:600]) == pytest.approx(
        0.25, abs=0.06
    )


def test_it_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    draw = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (400,), generator=draw)
    features = torch.randn(3, 8, generator=draw)[labels] + 1.5 * torch.randn(400, 8, generator=draw)
    train, val = slice(0, 250), slice(250, 400)
    ours = linear_probe_accuracy(features[val], labels[val], features[train], labels[train])
    mean, std = features[train].mean(0), features[train].std(0)
    ready = ((features - mean) / std).numpy()
    theirs = linear_model.LogisticRegression(C=1 / (2 * 1e-3 * 250), max_iter=500).fit(ready[train], labels[train])
    assert ours == pytest.approx(theirs.score(ready[val], labels[val]), abs=0.014)  # two images
