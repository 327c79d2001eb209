"""One of several gloo processes: computes every objective's loss and gradients on its shard and saves them.

Run by test_gather.py as `python gloo_worker.py RANK WORLD_SIZE FOLDER`; FOLDER holds the cases (`cases.pt`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sightwords.align import LOSSES, AlignmentHead, build_loss, gather_batch, pad_batch

TEMPERATURE = 0.2


def make_model(case: dict[str, Tensor]) -> nn.Linear:
    model = nn.Linear(*case["model"].T.shape, bias=False, dtype=torch.float64)
    model.load_state_dict({"weight": case["model"]})
    return model


def make_head(case: dict[str, Tensor], loss: str) -> AlignmentHead:
    torch.manual_seed(0)
    return AlignmentHead(*case["model"].T.shape, loss=loss, temperature=TEMPERATURE, norm="none").double()


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters()]


def shard(case: dict[str, Tensor], rank: int) -> tuple[Tensor, Tensor, Tensor | None, int]:
    sizes = case["sizes"].tolist()
    x, text = (case[name].split(sizes)[rank] for name in ("x", "text"))
    return x, text, case["weight"].split(sizes)[rank] if "weight" in case else None, max(sizes)


def run_loss(name: str, case: dict[str, Tensor], rank: int) -> dict[str, object]:
    x, text, weight, capacity = shard(case, rank)
    model = DistributedDataParallel(make_model(case))
    padded_weight = None if weight is None else pad_batch(weight, capacity)
    loss = build_loss(name, TEMPERATURE)(pad_batch(model(x), capacity), pad_batch(text, capacity), padded_weight)
    loss.backward()
    head = DistributedDataParallel(make_head(case, name))
    # with weights the head pads, without them the shards are even
    head_loss = head(x, text, weight, capacity=None if weight is None else capacity)
    head_loss.backward()
    return {
        "loss": loss.detach(),
        "gradients": gradients(model),
        "head_loss": head_loss.detach(),
        "head_gradients": gradients(head),
    }


def run_gather(rank: int, world_size: int) -> dict[str, Tensor]:
    x = torch.arange(6, dtype=torch.float64).view(2, 3) + 10 * rank
    x.requires_grad_()
    gathered = gather_batch(x)
    # every process weighs the rows differently, so that a gradient kept local would show
    coefficient = torch.arange(1, gathered.numel() + 1, dtype=torch.float64).view_as(gathered) * (rank + 1)
    (gathered * coefficient).sum().backward()
    return {"gathered": gathered.detach(), "gradient": x.grad, "coefficient": coefficient}


def main(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=world_size)
    cases = torch.load(folder / "cases.pt", weights_only=True)
    result = {
        (case_name, loss): run_loss(loss, case, rank) for case_name, case in cases.items() for loss in sorted(LOSSES)
    }
    torch.save({"losses": result, "gather": run_gather(rank, world_size)}, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
