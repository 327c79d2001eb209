from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sightwords.align import AlignmentHead, combine_losses, gradient_ratio, schedule_weight
from sightwords.errors import ConfigError, UnknownNameError
from support import align_worker


@pytest.fixture
def losses() -> tuple[Tensor, Tensor, Tensor]:
    """Features, and a classification and an alignment loss of them."""
    case = align_worker.make_cases(2)["even_gaps"]
    return align_worker.two_losses(case, num_rows=8)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.8, 0.8, 0.8, 0.8, 0.8]),
        ("linear", [0.8, 0.65, 0.5, 0.35, 0.2]),
        ("cosine", [0.8, 0.5 + 0.3 * math.sqrt(0.5), 0.5, 0.5 - 0.3 * math.sqrt(0.5), 0.2]),
        ("jump", [0.8, 0.8, 0.8, 0.2, 0.2]),
    ],
)
def test_schedules_go_from_start_to_end(schedule, expected):
    found = [schedule_weight(schedule, i / 4, 0.8, 0.2, jump_at=0.75) for i in range(5)]
    assert found == pytest.approx(expected, abs=1e-15)
    assert found[0] == 0.8
    assert schedule == "constant" or found[-1] == 0.2  # exactly
    assert schedule_weight(schedule, -0.1, 0.8, 0.2) == found[0]
    assert schedule_weight(schedule, 1.001, 0.8, 0.2) == found[-1]
    with pytest.raises(UnknownNameError, match=schedule):
        schedule_weight(schedule[:-1], 0.5, 1.0, 0.0)


def test_the_ratio_is_that_of_the_gradients(losses):
    features, classification, alignment = losses
    ratio = gradient_ratio(classification, alignment, features)
    expected = _gradient(classification, features).norm() / _gradient(alignment, features).norm()
    torch.testing.assert_close(ratio, expected, rtol=1e-12, atol=0)
    assert not ratio.requires_grad


def test_balanced_parts_pull_in_the_proportion_of_the_weight(losses):
    features, classification, alignment = losses
    ratio = gradient_ratio(classification, alignment, features)
    loss = combine_losses(classification, alignment, 0.3, ratio)
    torch.testing.assert_close(loss, 0.7 * classification + 0.3 * ratio * alignment)
    first = _gradient(combine_losses(classification, 0 * alignment, 0.3, ratio), features)
    second = _gradient(combine_losses(0 * classification, alignment, 0.3, ratio), features)
    assert (second.norm() / first.norm()).item() == pytest.approx(0.3 / 0.7, rel=1e-12)


def _gradient(loss: Tensor, features: Tensor) -> Tensor:
    return torch.autograd.grad(loss, features, retain_graph=True)[0]


@pytest.mark.parametrize("weight", [2.5, torch.tensor(2.5)])
def test_fixed_weighting_adds(losses, weight):
    _, classification, alignment = losses
    assert torch.equal(combine_losses(classification, alignment, weight), classification + 2.5 * alignment)


@pytest.mark.parametrize(("weight", "ratio"), [(-0.1, None), (math.nan, None), (1.1, 1.0), (-0.1, 1.0)])
def test_weights_out_of_range_are_refused(weight, ratio):
    ratio = None if ratio is None else torch.tensor(ratio)
    with pytest.raises(ConfigError, match=f"weight of the alignment loss is {weight}"):
        combine_losses(torch.tensor(1.0), torch.tensor(1.0), weight, ratio)


@pytest.mark.parametrize(
    ("classification", "alignment", "expected"),
    [
        (2.0, 4.0, 0.5),
        (2.0, 0.0, 0.0),
        (0.0, 4.0, 0.0),
        (math.nan, 4.0, 0.0),
        (2.0, math.nan, 0.0),
        (math.inf, math.inf, 0.0),
        (1e19, 1e-20, 0.0),  # no float32
    ],
)
def test_the_ratio_is_always_finite(classification, alignment, expected):
    features = torch.ones(1, requires_grad=True)
    ratio = gradient_ratio((classification * features).sum(), (alignment * features).sum(), features)
    assert ratio.item() == expected


def test_losses_that_do_not_depend_on_the_features_have_no_gradient():
    features, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    loss = features.sum()
    assert gradient_ratio(loss, other.sum(), features).item() == 0
    assert gradient_ratio(loss, torch.tensor(3.0), features).item() == 0
    assert gradient_ratio(torch.tensor(3.0), loss, features).item() == 0
    with pytest.raises(ConfigError, match="need no gradient"):
        gradient_ratio(loss, loss, torch.ones(2))


def test_under_autocast_the_ratio_is_that_of_full_precision():
    def ratio(enabled: bool) -> Tensor:
        torch.manual_seed(0)
        backbone, classifier = torch.nn.Linear(12, 32), torch.nn.Linear(32, 4)
        head = AlignmentHead(32, 8, norm="none")
        images, label, text = torch.randn(16, 12), torch.arange(16) % 4, torch.randn(16, 8)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            features = backbone(images)
            assert features.dtype == (torch.bfloat16 if enabled else torch.float32)
            classification = F.cross_entropy(classifier(features), label)
            return gradient_ratio(classification, head(features, text), features)

    assert ratio(True).dtype == torch.float32
    torch.testing.assert_close(ratio(True), ratio(False), rtol=0.02, atol=0)


def test_scaling_keeps_half_precision_gradients_from_underflowing():
    # gradients of 1e-9 and 2e-9 an element; the smallest float16 is 6e-8
    def ratio(dtype: torch.dtype, scale: float | None) -> float:
        features = torch.linspace(-1, 1, 64).to(dtype).requires_grad_()
        losses = [(features.float() * factor).sum() for factor in (1e-9, 2e-9)]
        return gradient_ratio(*losses, features, None if scale is None else torch.tensor(scale)).item()

    assert ratio(torch.float32, None) == pytest.approx(0.5, rel=1e-6)
    assert ratio(torch.float16, None) == 0
    assert ratio(torch.float16, 65536.0) == pytest.approx(0.5, rel=0.01)
