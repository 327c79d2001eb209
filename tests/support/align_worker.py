"""What each of several gloo processes computes of its shard: every objective, and the ratio of gradients."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sightwords.align import OBJECTIVES, AlignmentHead, clip_loss, gradient_ratio

NUM_FEATURES, DIM, NUM_CLASSES = 7, 5, 3
Case = dict[str, Tensor]


def make_cases(world_size: int) -> dict[str, Case]:
    """Batches by name; without weights the shards are even and nothing is padded."""
    torch.manual_seed(world_size)
    even, uneven = [4] * world_size, [5, 2, 3, 1][:world_size]
    ones, gaps = [1.0], [1.0, 0.5, 0.0, 2.0]
    mixed = {"partner": _partners(uneven)}
    return {
        "even": _case(even),
        "even_gaps": _case(even, gaps),
        "uneven": _case(uneven, ones),
        "uneven_gaps": _case(uneven, gaps),
        "empty_shard": _case([*uneven[:-1], 0], gaps),
        "no_text_on_one": _case(even, [0.0] * 4 + [1.0] * (sum(even) - 4)),
        "no_text_at_all": _case(even, [0.0]),
        "mixed": _case(uneven, gaps) | mixed,
        "several_texts": _case(uneven, gaps, (2,)),
        "mixed_several": _case(uneven, ones, (2,)) | mixed,
        "float32": {name: x.float() if x.is_floating_point() else x for name, x in _case(uneven, ones).items()},
    }


def _partners(sizes: list[int]) -> Tensor:
    """Neighbors within each shard; the last of an odd number is its own."""
    return torch.cat([(torch.arange(size) ^ 1).clamp(max=size - 1) for size in sizes])


def _case(sizes: list[int], weight: list[float] | None = None, num_texts: tuple[int, ...] = ()) -> Case:
    num_rows = sum(sizes)
    case = {
        "sizes": torch.tensor(sizes),
        "features": torch.randn(num_rows, NUM_FEATURES, dtype=torch.float64),
        "text": torch.randn(num_rows, *num_texts, DIM, dtype=torch.float64).abs(),  # as the weights of words are
        "label": torch.arange(num_rows) % NUM_CLASSES,
    }
    every = None if weight is None else torch.tensor(weight, dtype=torch.float64).repeat(num_rows)[:num_rows]
    return case if every is None else case | {"weight": every}


def shard(case: Case, rank: int) -> Case:
    sizes = case["sizes"].tolist()
    return {name: x.split(sizes)[rank] for name, x in case.items() if name != "sizes"}


def whole(case: Case) -> Case:
    """The rows of all processes as one process has them."""
    if "partner" not in case:
        return case
    firsts = case["sizes"].cumsum(0) - case["sizes"]
    return case | {"partner": case["partner"] + firsts.repeat_interleave(case["sizes"])}


def head_result(name: str, rows: Case, pad_to: int | None = None, spread: bool = False) -> list[Tensor]:
    """The loss of a head, and the gradients of its parameters."""
    torch.manual_seed(0)
    means = torch.randn(NUM_CLASSES, DIM, dtype=torch.float64)
    head: nn.Module = AlignmentHead(NUM_FEATURES, DIM, name, 0.2, norm="none", class_text_KD=means)
    head = head.to(rows["features"].dtype)
    module = DistributedDataParallel(head) if spread else head
    mix = {"partner_B": rows["partner"], "lam": 0.7} if "partner" in rows else {}
    loss = module(rows["features"], rows["text"], rows.get("weight"), label=rows["label"], pad_to=pad_to, **mix)
    loss.backward()
    return [loss.detach(), *(parameter.grad for parameter in head.parameters())]


def two_losses(rows: Case, num_rows: int, world_size: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Features, a classification loss and an alignment loss, as a process returns them."""
    torch.manual_seed(0)
    classifier = torch.randn(NUM_FEATURES, NUM_CLASSES, dtype=torch.float64)
    projector = torch.randn(NUM_FEATURES, DIM, dtype=torch.float64)
    features = rows["features"].clone().requires_grad_()
    classification = F.cross_entropy(features @ classifier, rows["label"], reduction="sum") * world_size / num_rows
    return features, classification, clip_loss(features @ projector, rows["text"], 0.2, rows["weight"])


def main(rank: int, world_size: int, path: str) -> None:
    """Compute everything and save it as rankN.pt in the folder at `path`."""
    folder = Path(path)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=world_size)
    cases = make_cases(world_size)
    heads = {}
    for case_name, case in cases.items():
        pad_to = int(case["sizes"].max()) if "weight" in case else None
        for name in OBJECTIVES:
            heads[case_name, name] = head_result(name, shard(case, rank), pad_to, spread=True)
    features, classification, alignment = two_losses(shard(cases["even_gaps"], rank), 4 * world_size, world_size)
    ratios = [
        gradient_ratio(classification, alignment, features, scale)
        for scale in (None, torch.tensor(1024.0, dtype=torch.float64))
    ]
    (classification + alignment).backward()  # the graph is still there
    result = {"heads": heads, "ratios": ratios, "gradient": features.grad}
    torch.save(result, folder / f"rank{rank}.pt")
    dist.destroy_process_group()
