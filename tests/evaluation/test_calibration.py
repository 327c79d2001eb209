from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.evaluation.metrics import expected_calibration_error, reliability


def test_error_by_hand():
    # four answers claim 0.9 and half are right, one claims 0.6 and is right: (4 x 0.4 + 1 x 0.4) / 5
    probabilities = torch.tensor([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    labels = torch.tensor([0, 0, 1, 1, 0])
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.4)


def test_honest_scores_have_hardly_any_error():
    draw = np.random.default_rng(0)
    scores = draw.uniform(0.5, 1, 20000)
    labels = torch.tensor((draw.random(20000) > scores).astype(int))
    probabilities = torch.tensor(np.stack([scores, 1 - scores], 1))
    assert expected_calibration_error(probabilities, labels) < 0.02


def test_reliability_by_hand_and_its_edges():
    confidence, accuracy, counts = reliability(
        np.array([0.05, 0.95, 1.0, 0.91]), np.array([False, True, True, False]), 10
    )
    assert counts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    assert accuracy[9] == pytest.approx(2 / 3)
    assert confidence[9] == pytest.approx((0.95 + 1.0 + 0.91) / 3)
    assert np.isnan(accuracy[1])
