from __future__ import annotations

import pytest
import torch
from torch import nn

from sightwords.align import build_projector
from sightwords.errors import ConfigError, UnknownNameError


def test_linear_is_one_matrix():
    projector = build_projector("linear", 12, 5)
    features = torch.randn(3, 12)
    assert [name for name, _ in projector.named_parameters()] == ["0.weight"]
    torch.testing.assert_close(projector(features), features @ projector[0].weight.T)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_mlp_has_the_published_layers(norm):
    projector = build_projector("mlp", 12, 5, norm)
    middle = [nn.BatchNorm1d(10)] if norm == "batch" else []
    stock = nn.Sequential(nn.Linear(12, 10, bias=norm == "none"), *middle, nn.ReLU(), nn.Linear(10, 5))
    stock.load_state_dict(projector.state_dict())
    features = torch.randn(6, 12) * 2 + 1
    assert torch.equal(projector(features), stock(features))
    assert torch.equal(projector.eval()(features), stock.eval()(features))


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_weights_start_from_a_narrow_normal(kind):
    torch.manual_seed(0)
    for name, parameter in build_projector(kind, 300, 200, "none").named_parameters():
        if name.endswith("bias"):
            assert parameter.count_nonzero() == 0
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05)
            assert abs(parameter.mean().item()) < 1e-3


def test_one_row_in_training_uses_the_running_statistics():
    projector = build_projector("mlp", 12, 5, "batch")
    for _ in range(3):
        projector(torch.randn(16, 12) + 1)
    before = {name: value.clone() for name, value in projector.state_dict().items()}
    features = torch.randn(1, 12)
    trained = projector.train()(features)
    trained.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in projector.state_dict().items())
    assert projector[0].weight.grad.count_nonzero() > 0
    torch.testing.assert_close(trained, projector.eval()(features))
    assert projector.train()(features[:0]).shape == (0, 5)


def test_unknown_names_and_sizes_are_refused():
    with pytest.raises(UnknownNameError, match="linear"):
        build_projector("liner", 4, 4)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="batch, none"):
        build_projector("mlp", 4, 4, "group")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="0 to 4"):
        build_projector("mlp", 0, 4)
