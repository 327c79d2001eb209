"""Batches that are spread over several processes: gathering them, exactly differentiable, and padding them.

Every process must call these functions in the same order with tensors of one shape; `pad_batch` makes uneven local
batches equal. Works with gloo and NCCL. No function here waits for the accelerator.

Shapes: B rows of this process, W processes, G = W * B rows of all processes, in the order of the ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from sightwords.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def world_size(group: ProcessGroup | None = None) -> int:
    """Number of processes that share a batch: those of `group`, or of the default group, or 1 if there is none."""
    return dist.get_world_size(group) if _in_use() else 1


def world_rank(group: ProcessGroup | None = None) -> int:
    """This process's place within `group`, or within the default group, or 0 if there is none."""
    return dist.get_rank(group) if _in_use() else 0


def gather_batch(x: Tensor, group: ProcessGroup | None = None) -> Tensor:
    """Joins the local batches of all processes, in the order of the ranks.

    The gradient is that of the sum of all processes' losses: each process gets back what every process's loss asks
    of its rows. (Keeping the gradient of the local loss only, as is often seen, loses the part that other processes'
    losses owe to these rows.)

    Args:
        x: (B, ...) local rows, of the same shape in every process.
        group: the processes that share the batch; None is the default group. Without one, `x` itself is returned.

    Returns:
        (G, ...) rows of all processes.
    """
    if world_size(group) == 1:
        return x
    gathered: Tensor = _Gather.apply(x, group)
    return gathered


def pad_batch(x: Tensor, pad_to: int) -> Tensor:
    """Appends rows of zeros, so that uneven local batches can be gathered.

    Pad the weights likewise (a padded row then has weight 0 and takes no part). Pad after the projector: rows of
    padding must not enter the statistics of its BatchNorm.

    Args:
        x: (B, ...) local rows.
        pad_to: number of rows wanted, the same in every process, at least B.

    Returns:
        (pad_to, ...), differentiable with respect to `x`.

    Raises:
        ConfigError: if there are more rows than `pad_to`.
    """
    num_missing = pad_to - x.shape[0]
    if num_missing < 0:
        raise ConfigError(f"A batch of {x.shape[0]} rows does not fit a pad_to of {pad_to}. Give a larger one.")
    return x if num_missing == 0 else torch.cat([x, x.new_zeros((num_missing, *x.shape[1:]))])


def _in_use() -> bool:
    return dist.is_available() and dist.is_initialized()


class _Gather(torch.autograd.Function):
    """All-gather forward; backward sums the gradients of all processes and keeps the part of the local rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup | None) -> Tensor:
        ctx.group, ctx.num_rows = group, x.shape[0]
        gathered = x.new_empty((dist.get_world_size(group) * x.shape[0], *x.shape[1:]))
        dist.all_gather_into_tensor(gathered, x.contiguous(), group=group)
        return gathered

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # a copy, since autograd may hand the same tensor to others
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        first = dist.get_rank(ctx.group) * ctx.num_rows
        return total[first : first + ctx.num_rows], None
