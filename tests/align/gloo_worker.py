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

from sightwords.align import LOSSES, AlignmentHead, gather_batch, pad_batch

TEMPERATURE = 0.2
NUM_CLASSES = 3


def make_model(case: dict[str, Tensor]) -> nn.Linear:
    model = nn.Linear(*case["model"].T.shape, bias=False, dtype=torch.float64)
    model.load_state_dict({"weight": case["model"]})
    return model.to(case["x"].dtype)


def make_head(case: dict[str, Tensor], loss: str) -> AlignmentHead:
    torch.manual_seed(0)
    means = torch.randn(NUM_CLASSES, len(case["model"]), dtype=torch.float64)
    head = AlignmentHead(
        *case["model"].T.shape,
        loss=loss,
        temperature=TEMPERATURE,
        norm="none",
        class_text_KD=means if LOSSES[loss].needs_class_text else None,
    )
    return head.to(case["x"].dtype)


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters()]


def shard(case: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    sizes = case["sizes"].tolist()
    own = {name: case[name].split(sizes)[rank] for name in ("x", "text", "weight", "label", "partner") if name in case}
    if "partner" in own:
        own["partner"] = own["partner"] - sum(sizes[:rank])
    return own


def head_loss(head: nn.Module, rows: dict[str, Tensor], capacity: int | None) -> Tensor:
    share = 0.7 if "partner" in rows else None
    return head(
        rows["x"], rows["text"], rows.get("weight"), label=rows["label"], partner_B=rows.get("partner"), share=share,
        capacity=capacity,
    )  # fmt: skip


def run_loss(name: str, case: dict[str, Tensor], rank: int) -> dict[str, object]:
    rows, capacity = shard(case, rank), int(case["sizes"].max())
    head = DistributedDataParallel(make_head(case, name))
    # with weights the head pads, without them the shards are even
    loss = head_loss(head, rows, capacity if "weight" in case else None)
    loss.backward()
    result: dict[str, object] = {"head_loss": loss.detach(), "head_gradients": gradients(head)}
    if rows["text"].ndim == 2 and "partner" not in rows:
        model = DistributedDataParallel(make_model(case))
        text, label, weight = (rows.get(key) for key in ("text", "label", "weight"))
        padded = (pad_batch(model(rows["x"]), capacity), pad_batch(text, capacity))
        padded_weight = None if weight is None else pad_batch(weight, capacity)
        loss = make_head(case, name).loss(*padded, padded_weight, label=pad_batch(label, capacity))
        loss.backward()
        result |= {"loss": loss.detach(), "gradients": gradients(model)}
    return result


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
