"""One of several gloo processes: computes the ratio of gradients on its shard and saves it.

Run by test_weighting.py as `python ratio_worker.py RANK WORLD_SIZE FOLDER`; FOLDER holds the batch (`batch.pt`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from sightwords.align import clip_loss, gradient_ratio

TEMPERATURE = 0.2


def losses(batch: dict[str, Tensor], world_size: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Features, and both losses as a process returns them: W times its share of the global batch's."""
    features = batch["features"].requires_grad_()
    # the shares of the weighted mean differ between the processes
    loss_B = F.cross_entropy(features @ batch["classifier"], batch["label"], reduction="none")
    classification = world_size * (batch["class_weight"] * loss_B).sum() / batch["total"]
    return (
        features,
        classification,
        clip_loss(features @ batch["projector"], batch["text"], TEMPERATURE, batch["weight"]),
    )


def shard(batch: dict[str, Tensor], rank: int, world_size: int) -> dict[str, Tensor]:
    rows = {"features", "label", "class_weight", "text", "weight"}
    return {name: x.chunk(world_size)[rank].clone() if name in rows else x for name, x in batch.items()}


def main(rank: int, world_size: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=world_size)
    batch = torch.load(folder / "batch.pt", weights_only=True)
    features, classification, alignment = losses(shard(batch, rank, world_size), world_size)
    scale = torch.tensor(1024.0, dtype=torch.float64)
    found = {
        "ratio": gradient_ratio(classification, alignment, features),
        "scaled": gradient_ratio(classification, alignment, features, scale),
    }
    (classification + alignment).backward()  # the graph is still there
    torch.save({**found, "gradient": features.grad}, folder / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
