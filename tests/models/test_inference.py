from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sightwords.models.inference import top_predictions
from sightwords.models.run_folder import NetworkInfo

LOGITS = torch.tensor([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0]])


@pytest.fixture
def info() -> NetworkInfo:
    names = ["disc", "square", "bar"]
    means = (0.5, 0.5, 0.5)
    return NetworkInfo("timm:test_resnet", {}, {}, 3, ["a", "b", "c"], names, False, 32, "bicubic", 1.0, means, means)


def test_the_most_probable_come_first_and_add_up_to_one(info):
    first, second = top_predictions(info, LOGITS, 9)
    assert [(one.class_id, one.class_name) for one in first] == [("b", "square"), ("c", "bar"), ("a", "disc")]
    assert [one.class_id for one in second] == ["a", "c", "b"]
    assert sum(one.probability for one in first) == pytest.approx(1)


def test_of_several_labels_each_probability_stands_alone(info):
    (first, _) = top_predictions(replace(info, multi_label=True), LOGITS, 2)
    assert [one.class_id for one in first] == ["b", "c"]
    assert [one.probability for one in first] == pytest.approx(torch.sigmoid(LOGITS[0, [1, 2]]).tolist())
