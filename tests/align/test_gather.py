from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sightwords.align import LOSSES, gather_batch, pad_batch
from sightwords.errors import ConfigError

WORKER = Path(__file__).with_name("gloo_worker.py")
NUM_FEATURES, DIM = 7, 5
CASES = {"even", "even_gaps", "uneven", "uneven_gaps", "empty_shard", "no_text_on_one", "no_text_at_all", "mixed"}
CASES = sorted(CASES | {"several_texts", "mixed_several", "float32"})


def make_cases(world_size: int) -> dict[str, dict[str, Tensor]]:
    torch.manual_seed(world_size)
    even, uneven = [4] * world_size, [5, 2, 3, 1][:world_size]
    ones = torch.ones(sum(uneven), dtype=torch.float64)
    mixed = {"partner": _partners(uneven)}
    return {
        "even": _case(even, None),
        "even_gaps": _case(even, _gaps(sum(even))),
        "uneven": _case(uneven, ones),
        "uneven_gaps": _case(uneven, _gaps(sum(uneven))),
        "empty_shard": _case([*uneven[:-1], 0], _gaps(sum(uneven[:-1]))),
        "no_text_on_one": _case(even, torch.cat([torch.zeros(4), torch.ones(sum(even) - 4)]).double()),
        "no_text_at_all": _case(even, torch.zeros(sum(even), dtype=torch.float64)),
        "mixed": _case(uneven, _gaps(sum(uneven))) | mixed,
        "several_texts": _case(uneven, _gaps(sum(uneven)), 2),
        "mixed_several": _case(uneven, ones, 2) | mixed,
        "float32": {name: x.float() if x.is_floating_point() else x for name, x in _case(uneven, ones).items()},
    }


def _gaps(num_rows: int) -> Tensor:
    return torch.tensor([1.0, 0.5, 0.0, 2.0], dtype=torch.float64).repeat(num_rows)[:num_rows]


def _partners(sizes: list[int]) -> Tensor:
    """Neighbors within each shard; the last of an odd number is its own."""
    firsts = torch.tensor(sizes).cumsum(0) - torch.tensor(sizes)
    rows = zip(firsts.tolist(), sizes, strict=True)
    return torch.cat([first + (torch.arange(size) ^ 1).clamp(max=size - 1) for first, size in rows])


def _case(sizes: list[int], weight: Tensor | None, num_texts: int = 1) -> dict[str, Tensor]:
    num_rows = sum(sizes)
    shape = (num_rows, DIM) if num_texts == 1 else (num_rows, num_texts, DIM)
    case = {
        "sizes": torch.tensor(sizes),
        "x": torch.randn(num_rows, NUM_FEATURES, dtype=torch.float64),
        "text": torch.randn(shape, dtype=torch.float64).abs(),  # as the weights of words are
        "label": torch.arange(num_rows) % 3,
        "model": torch.randn(DIM, NUM_FEATURES, dtype=torch.float64),
    }
    return case if weight is None else {**case, "weight": weight}


@pytest.fixture(scope="module", params=[1, 2, 4], ids=["W1", "W2", "W4"])
def spread(request, tmp_path_factory):
    """The cases, and what each of several gloo processes computed of them."""
    world_size = request.param
    folder = tmp_path_factory.mktemp(f"gloo{world_size}")
    cases = make_cases(world_size)
    torch.save(cases, folder / "cases.pt")
    workers = [
        subprocess.Popen([sys.executable, str(WORKER), str(rank), str(world_size), str(folder)])
        for rank in range(world_size)
    ]
    try:
        assert [worker.wait(timeout=300) for worker in workers] == [0] * world_size
    finally:
        for worker in workers:
            worker.kill()
    return cases, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(world_size)]


@pytest.fixture(scope="module")
def worker_module():
    spec = importlib.util.spec_from_file_location("gloo_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("case_name", CASES)
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_that_of_one_process(spread, worker_module, name, case_name):
    cases, ranks = spread
    case = cases[case_name]
    results = [rank["losses"][case_name, name] for rank in ranks]
    head = worker_module.make_head(case, name)
    loss = worker_module.head_loss(head, case, None)
    loss.backward()
    _assert_equal([result["head_loss"] for result in results], loss)
    for result in results:
        _assert_equal(result["head_gradients"], worker_module.gradients(head))
    if "gradients" in results[0]:
        model = worker_module.make_model(case)
        objective = worker_module.make_head(case, name).loss
        loss = objective(model(case["x"]), case["text"], case.get("weight"), label=case["label"])
        loss.backward()
        _assert_equal([result["loss"] for result in results], loss)
        for result in results:
            _assert_equal(result["gradients"], worker_module.gradients(model))
        assert (case_name in NOTHING[len(ranks)]) == (model.weight.grad.count_nonzero() == 0).item()


# without any row that has a text; relational needs two of them
NOTHING = {1: {"no_text_at_all", "no_text_on_one", "empty_shard"}, 2: {"no_text_at_all"}, 4: {"no_text_at_all"}}


def _assert_equal(actual: list[Tensor], expected: Tensor | list[Tensor]) -> None:
    if isinstance(expected, Tensor):
        actual, expected = [torch.stack(actual).mean()], [expected.detach()]
    for found, wanted in zip(actual, expected, strict=True):
        scale = 1 if wanted.dtype == torch.float64 else max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10 if wanted.dtype == torch.float64 else 1e-5 * scale)


@pytest.mark.slow
def test_gathers_in_order_and_returns_all_gradients(spread):
    _, ranks = spread
    results = [rank["gather"] for rank in ranks]
    expected = torch.cat([torch.arange(6.0).view(2, 3) + 10 * rank for rank in range(len(ranks))]).double()
    coefficient = sum(result["coefficient"] for result in results)
    for rank, result in enumerate(results):
        assert torch.equal(result["gathered"], expected)
        assert torch.equal(result["gradient"], coefficient[2 * rank : 2 * rank + 2])


def test_one_process_gathers_nothing():
    x = torch.randn(3, 2)
    assert gather_batch(x) is x


def test_padding_appends_zeros_and_passes_the_gradient():
    x = torch.randn(3, 2, requires_grad=True)
    padded = pad_batch(x, 5)
    assert torch.equal(padded, torch.cat([x, torch.zeros(2, 2)]))
    (padded * torch.arange(5.0)[:, None]).sum().backward()
    assert torch.equal(x.grad, torch.arange(3.0)[:, None].expand(3, 2))
    assert torch.equal(pad_batch(torch.ones(2), 3), torch.tensor([1.0, 1.0, 0.0]))
    assert pad_batch(x, 3) is x


def test_a_batch_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="4 rows does not fit a capacity of 3"):
        pad_batch(torch.ones(4), 3)
