from __future__ import annotations

import pytest
import torch

from sightwords.align import OBJECTIVES, gather_batch, gradient_ratio, pad_batch
from sightwords.errors import ConfigError
from support import align_worker
from support.forks import Forks

WORLD_SIZE = 3


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of several gloo processes computed."""
    folder = tmp_path_factory.mktemp("gloo")
    with Forks("support.align_worker:main", folder / "errors") as forks:
        statuses, _ = forks.run(*([rank, WORLD_SIZE, str(folder)] for rank in range(WORLD_SIZE)))
        assert statuses == {0}, forks.errors()
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(WORLD_SIZE)]


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradient_equal_those_of_one_process(ranks, name):
    for case_name, case in align_worker.make_cases(WORLD_SIZE).items():
        loss, *gradients = align_worker.head_result(name, align_worker.whole(case))
        near = {"rtol": 0, "atol": 1e-10} if loss.dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-4}
        results = [rank["heads"][case_name, name] for rank in ranks]
        mean = torch.stack([result[0] for result in results]).mean()
        torch.testing.assert_close(mean, loss, **near, msg=lambda text, case_name=case_name: f"{case_name}: {text}")
        for result in results:
            torch.testing.assert_close(result[1:], gradients, **near)
        assert (case_name == "no_text_at_all") == all(gradient.count_nonzero() == 0 for gradient in gradients)


@pytest.mark.slow
def test_the_ratio_of_gradients_is_that_of_one_process(ranks):
    case = align_worker.make_cases(WORLD_SIZE)["even_gaps"]
    features, classification, alignment = align_worker.two_losses(case, 4 * WORLD_SIZE)
    expected = gradient_ratio(classification, alignment, features)
    for rank in ranks:
        torch.testing.assert_close(rank["ratios"], [expected, expected], rtol=1e-12, atol=0)
    (classification + alignment).backward()
    gathered = torch.cat([rank["gradient"] for rank in ranks]) / WORLD_SIZE  # W times this process's part
    torch.testing.assert_close(gathered, features.grad, rtol=0, atol=1e-12)


def test_padding_appends_zeros_and_passes_the_gradient():
    x = torch.randn(3, 2, requires_grad=True)
    padded = pad_batch(x, 5)
    assert torch.equal(padded, torch.cat([x, torch.zeros(2, 2)]))
    (padded * torch.arange(5.0)[:, None]).sum().backward()
    assert torch.equal(x.grad, torch.arange(3.0)[:, None].expand(3, 2))
    assert pad_batch(x, 3) is x
    assert gather_batch(x) is x  # one process alone
    with pytest.raises(ConfigError, match="4 rows"):
        pad_batch(torch.ones(4), 3)
