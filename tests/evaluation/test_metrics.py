from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from sightwords.evaluation.feature_metrics import knn_accuracy
from sightwords.evaluation.metrics import confusion_matrix, most_confused, multi_label_metrics, single_label_metrics


def test_single_label_metrics_against_counting():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(200, 8)), random.integers(0, 7, 200)  # class 7 never occurs
    order = np.argsort(-logits, 1)
    expected = {
        "top1": np.mean(order[:, 0] == labels),
        "top5": np.mean([label in row[:5] for row, label in zip(order, labels, strict=True)]),
        "mean_per_class": np.mean([np.mean(order[labels == c, 0] == c) for c in range(7)]),
    }
    got = single_label_metrics(torch.tensor(logits), torch.tensor(labels))
    assert got == pytest.approx(expected)


def test_few_classes_have_no_top5():
    assert set(single_label_metrics(torch.eye(3), torch.arange(3))) == {"top1", "mean_per_class"}


def test_confusion_matrix_and_the_most_confused():
    logits = torch.eye(4)[[0, 1, 1, 2, 2, 2, 3]]
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 3])
    matrix = confusion_matrix(logits, labels)
    assert matrix.tolist() == [[1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
    assert most_confused(matrix) == [(0, 1, 2), (1, 2, 1)]


def test_map_against_scikit_learn():
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(60, 5)), random.integers(0, 2, (60, 5))
    targets[:, 4] = 0  # a class without an example does not count
    expected = np.mean([average_precision_score(targets[:, c], logits[:, c]) for c in range(4)])
    got = multi_label_metrics(torch.tensor(logits), torch.tensor(targets).float())["map"]
    assert got == pytest.approx(expected, abs=1e-6)


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
