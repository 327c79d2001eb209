from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sightwords.align import AlignmentHead, combine_losses, gradient_ratio, schedule_weight
from sightwords.errors import ConfigError, UnknownNameError

WORKER = Path(__file__).with_name("ratio_worker.py")
NUM_ROWS, NUM_FEATURES, DIM, NUM_CLASSES = 8, 6, 5, 3


@pytest.fixture(scope="module")
def worker():
    spec = importlib.util.spec_from_file_location("ratio_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def batch() -> dict[str, Tensor]:
    torch.manual_seed(0)
    class_weight = torch.arange(1, NUM_ROWS + 1, dtype=torch.float64)
    return {
        "features": torch.randn(NUM_ROWS, NUM_FEATURES, dtype=torch.float64),
        "classifier": torch.randn(NUM_FEATURES, NUM_CLASSES, dtype=torch.float64),
        "projector": torch.randn(NUM_FEATURES, DIM, dtype=torch.float64),
        "text": torch.randn(NUM_ROWS, DIM, dtype=torch.float64),
        "weight": torch.tensor([1.0, 0.0, 2.0, 1.0, 1.0, 0.5, 0.0, 0.0], dtype=torch.float64),
        "label": torch.arange(NUM_ROWS) % NUM_CLASSES,
        "class_weight": class_weight,
        "total": class_weight.sum(),
    }


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


def test_an_unknown_schedule_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Unknown weight schedule 'cosin'\. Did you mean: cosine"):
        schedule_weight("cosin", 0.5, 1.0, 0.0)


def test_the_ratio_is_that_of_the_finite_differences(batch, worker):
    features, classification, alignment = worker.losses(batch)
    ratio = gradient_ratio(classification, alignment, features)
    lengths = [_numeric_gradient(batch, worker, which).norm() for which in (1, 2)]
    assert ratio.item() == pytest.approx((lengths[0] / lengths[1]).item(), rel=1e-7)
    assert not ratio.requires_grad
    assert ratio.dtype == torch.float64


def _numeric_gradient(batch: dict[str, Tensor], worker, which: int, step: float = 1e-5) -> Tensor:
    start = batch["features"].detach()
    gradient = torch.zeros(NUM_ROWS * NUM_FEATURES, dtype=torch.float64)
    for place in range(len(gradient)):
        for sign in (1, -1):
            moved = start.clone()
            moved.view(-1)[place] += sign * step
            gradient[place] += sign * worker.losses({**batch, "features": moved})[which].item() / (2 * step)
    return gradient


def test_several_processes_find_the_ratio_of_one(batch, worker, tmp_path):
    torch.save(batch, tmp_path / "batch.pt")
    workers = [subprocess.Popen([sys.executable, str(WORKER), str(rank), "2", str(tmp_path)]) for rank in range(2)]
    try:
        assert [process.wait(timeout=300) for process in workers] == [0, 0]
    finally:
        for process in workers:
            process.kill()
    results = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    features, classification, alignment = worker.losses(batch)
    expected = gradient_ratio(classification, alignment, features)
    for result in results:
        torch.testing.assert_close(result["ratio"], expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(result["scaled"], expected, rtol=1e-12, atol=0)
    (classification + alignment).backward()
    gathered = torch.cat([result["gradient"] for result in results]) / 2  # W times the share
    torch.testing.assert_close(gathered, features.grad, rtol=0, atol=1e-12)


def test_balanced_parts_pull_in_the_proportion_of_the_weight(batch, worker):
    features, classification, alignment = worker.losses(batch)
    ratio = gradient_ratio(classification, alignment, features)
    loss = combine_losses(classification, alignment, 0.3, ratio)
    torch.testing.assert_close(loss, 0.7 * classification + 0.3 * ratio * alignment)
    first = _gradient(combine_losses(classification, 0 * alignment, 0.3, ratio), features)
    second = _gradient(combine_losses(0 * classification, alignment, 0.3, ratio), features)
    assert (second.norm() / first.norm()).item() == pytest.approx(0.3 / 0.7, rel=1e-12)


def _gradient(loss: Tensor, features: Tensor) -> Tensor:
    return torch.autograd.grad(loss, features, retain_graph=True)[0]


def test_fixed_weighting_adds(batch, worker):
    _, classification, alignment = worker.losses(batch)
    assert torch.equal(combine_losses(classification, alignment, 2.5), classification + 2.5 * alignment)
    weight = torch.tensor(2.5, dtype=torch.float64)
    assert torch.equal(combine_losses(classification, alignment, weight), classification + 2.5 * alignment)


@pytest.mark.parametrize(("weight", "ratio"), [(-0.1, None), (math.nan, None), (1.1, 1.0), (-0.1, 1.0)])
def test_weights_out_of_range_are_refused(weight, ratio):
    ratio = None if ratio is None else torch.tensor(ratio)
    with pytest.raises(ConfigError, match=f"The weight of the alignment loss is {weight}; it must be"):
        combine_losses(torch.tensor(1.0), torch.tensor(1.0), weight, ratio)


@pytest.mark.parametrize(
    ("classification", "alignment", "expected"),
    [
        (2.0, 4.0, 0.5),
        (2.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.0, 4.0, 0.0),
        (math.nan, 4.0, 0.0),
        (2.0, math.nan, 0.0),
        (math.inf, 4.0, 0.0),
        (2.0, math.inf, 0.0),
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


def test_frozen_features_are_refused():
    with pytest.raises(ConfigError, match="The features need no gradient"):
        gradient_ratio(torch.tensor(1.0), torch.tensor(1.0), torch.ones(2))


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


class _NoReading(TorchDispatchMode):
    """Fails where a tensor's value is read back to Python."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default), func
        return func(*args, **(kwargs or {}))


def test_nothing_is_read_back(batch, worker):
    with pytest.raises(AssertionError, match="_local_scalar_dense"), _NoReading():
        torch.ones(()).item()
    with _NoReading():
        features, classification, alignment = worker.losses(batch)
        ratio = gradient_ratio(classification, alignment, features, torch.tensor(8.0))
        combine_losses(classification, alignment, 0.5, ratio).backward()
    assert features.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_accelerator_is_never_waited_for():
    scaler = torch.amp.GradScaler("cuda")
    features = torch.randn(16, 8, device="cuda", requires_grad=True)
    scale = scaler.scale(torch.ones((), device="cuda"))  # as the docstring says; makes the scale on its first use
    torch.cuda.set_sync_debug_mode("error")
    try:
        scale = scaler.scale(torch.ones((), device="cuda"))
        ratio = gradient_ratio(features.square().mean(), features.sin().mean(), features, scale)
        combine_losses(features.square().mean(), features.sin().mean(), 0.5, ratio).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert ratio.item() > 0
