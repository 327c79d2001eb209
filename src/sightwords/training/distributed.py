"""The processes of one training: started by torchrun, or just this one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from sightwords.hub import choose_device


@dataclass(frozen=True)
class Processes:
    """This process's rank among all, from 0, their number, and where this process computes."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of `values` over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def sum_by_name(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums of named scalars over all processes, on the CPU."""
        if not values:
            return {}
        stacked = torch.stack(list(values.values()))
        if self.world_size > 1:
            stacked = self.sum(stacked.to(self.device))
        return dict(zip(values, stacked.cpu(), strict=True))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process through the block before the others, which then find its results in a cache."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.world_size > 1:
            dist.barrier()


@contextmanager
def process_group(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started (NCCL on GPUs, gloo elsewhere); a single process needs nothing.

    Raises:
        ConfigError: the device does not exist here.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # where NCCL looks
    own_group = world_size > 1 and not dist.is_initialized()
    if own_group:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world_size, chosen)
    finally:
        if own_group:
            dist.destroy_process_group()
