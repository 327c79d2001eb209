from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.evaluation.metrics import (
    confusion_matrix,
    knn_accuracy,
    linear_probe_accuracy,
    most_confused,
    multi_label_metrics,
    reliability,
    single_label_metrics,
)


def test_single_label_metrics_against_counting():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(200, 8)), random.integers(0, 7, 200)  # class 7 never occurs
    order = np.argsort(-logits, 1)
    expected = {
        "top1": np.mean(order[:, 0] == labels),
        "top5": np.mean([label in row[:5] for row, label in zip(order, labels, strict=True)]),
        "mean_per_class": np.mean([np.mean(order[labels == c, 0] == c) for c in range(7)]),
    }
    found = single_label_metrics(torch.tensor(logits), torch.tensor(labels))
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert "top5" not in single_label_metrics(torch.eye(3), torch.arange(3))


def test_calibration_error_by_hand():
    # four answers claim 0.9 and half are right, one claims 0.6 and is right: (4 x 0.4 + 1 x 0.4) / 5
    probabilities = torch.tensor([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    found = single_label_metrics(probabilities.log(), torch.tensor([0, 0, 1, 1, 0]))
    assert found["ece"] == pytest.approx(0.4)
    scores, correct = np.array([0.05, 0.95, 1.0, 0.91]), np.array([False, True, True, False])
    low, high = reliability(scores, correct, 10)  # bins without images are left out
    assert low == (0.05, 0.0, 1)
    assert high == pytest.approx(((0.95 + 1.0 + 0.91) / 3, 2 / 3, 3))


def test_confusion_matrix_and_the_most_confused():
    logits = torch.eye(4)[[0, 1, 1, 2, 2, 2, 3]]
    matrix = confusion_matrix(logits, torch.tensor([0, 0, 0, 1, 2, 2, 3]))
    assert matrix.tolist() == [[1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
    assert most_confused(matrix) == [(0, 1, 2), (1, 2, 1)]


def test_map_by_hand():
    # class 0: the examples stand at ranks 1 and 3; class 1 is ranked without a fault; class 2 has no example
    logits = torch.tensor([[4.0, 1.0, 0.0], [3.0, 2.0, 1.0], [2.0, -1.0, 2.0], [1.0, -2.0, 3.0]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert multi_label_metrics(logits, targets)["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)


def test_knn_against_loops():
    random = np.random.default_rng(0)
    train, queries = random.normal(size=(40, 6)), random.normal(size=(25, 6))
    train_labels, labels = random.integers(0, 3, 40), random.integers(0, 3, 25)
    correct = 0
    for query, label in zip(queries, labels, strict=True):
        cosines = [float(query @ t / np.linalg.norm(query) / np.linalg.norm(t)) for t in train]
        votes = np.zeros(3)
        for i in np.argsort(cosines)[-7:]:
            votes[train_labels[i]] += np.exp(cosines[i] / 0.07)
        correct += votes.argmax() == label
    arrays = [torch.tensor(a) for a in (queries, labels, train, train_labels)]
    assert knn_accuracy(*arrays, k=7) == pytest.approx(correct / 25)
    assert knn_accuracy(arrays[2], arrays[3], arrays[2], arrays[3], k=1) == 1.0


def test_a_linear_probe_separates_what_can_be_and_nothing_else():
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(1200) % 4
    noise = torch.randn(1200, 16, generator=draw)
    separable = (4 * torch.randn(4, 16, generator=draw)[labels] + noise) * torch.logspace(-3, 3, 16)
    for features, expected in ((separable, 1.0), (noise, 0.25)):
        found = linear_probe_accuracy(features[600:], labels[600:], features[:600], labels[:600])
        assert found == pytest.approx(expected, abs=0.06)
