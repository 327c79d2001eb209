"""The benchmark of the audit swaps the share that it says, and its figures are right where they can be told."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "audit.py"


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_share_of_the_labels_becomes_another_class(audit):
    labels = np.repeat(np.arange(5), 40)
    wrong, is_wrong = audit.swapped(labels, 5, 0.05, seed=3)
    assert is_wrong.sum() == 10
    assert ((wrong != labels) == is_wrong).all()
    assert set(wrong.tolist()) <= set(range(5))
    assert (audit.swapped(labels, 5, 0.05, seed=4)[1] != is_wrong).any()


def test_figures_of_a_known_order(audit):
    goodness, is_wrong = np.array([0.0, 1.0, 2.0, 3.0]), np.array([True, False, True, False])
    assert audit.precision_at(goodness, is_wrong, 2) == 0.5
    assert audit.average_precision(goodness, is_wrong) == pytest.approx((1 + 2 / 3) / 2)
    assert audit.interval([0.8, 0.8]).split() == ["80.0%", "[80.0%,", "80.0%]"]
