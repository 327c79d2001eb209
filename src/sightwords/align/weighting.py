"""How much the alignment loss weighs beside the classification loss: schedules, and balancing by gradients.

Shapes, as suffixes of names: B rows of this process, F features, W processes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from sightwords.align.distributed import world_size
from sightwords.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

WeightSchedule = Literal["constant", "linear", "cosine", "jump"]


def schedule_weight(
    schedule: WeightSchedule, progress: float, start: float, end: float = 0.0, jump_at: float = 0.5
) -> float:
    """Weight of the alignment loss at a moment of the training.

    With p the progress: constant is `start`; linear is start + p (end - start); cosine is
    end + (start - end) (1 + cos(pi p)) / 2, flat at both ends; jump is `start` while p < jump_at, then `end`. Source:
    the schedules of TextTeacher, arXiv 2605.22098.

    Args:
        schedule: one of the four.
        progress: part of the training that is done, from 0 to 1; beyond that the nearest end counts.
        start: weight at the beginning.
        end: weight at the end; constant does not read it.
        jump_at: progress at which `jump` takes the final weight.

    Raises:
        UnknownNameError: if there is no such schedule.
    """
    progress = min(max(progress, 0.0), 1.0)
    if schedule == "constant":
        return start
    if schedule == "linear":
        return (1 - progress) * start + progress * end
    if schedule == "cosine":
        kept = (1 + math.cos(math.pi * progress)) / 2
        return kept * start + (1 - kept) * end
    if schedule == "jump":
        return start if progress < jump_at else end
    raise UnknownNameError("weight schedule", schedule, get_args(WeightSchedule))


def gradient_ratio(
    classification_loss: Tensor,
    alignment_loss: Tensor,
    features_BF: Tensor,
    grad_scale: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Length of the classification loss's gradient at the features, divided by that of the alignment loss.

    |dL_cls / dh| / |dL_align / dh| with h the features of all rows of all processes: how many times larger the
    alignment loss would have to be to pull as hard. Source: TextTeacher, arXiv 2605.22098.

    Costs a backward pass through what lies behind the features (classifier and projector, not the network), and keeps
    the graph for the step's own backward pass. With several processes each loss is W times the process's share, as
    everywhere in `sightwords.align`: both gradients hold the same factor W, so the ratio is that of the global batch
    and is the same in all processes. All processes must call this. Nothing waits for the accelerator.

    Args:
        classification_loss: scalar.
        alignment_loss: scalar, not yet weighted.
        features_BF: (B, F) pooled features that both losses were computed from (any shape).
        grad_scale: scalar tensor that multiplies both losses, so that half-precision gradients do not underflow; it
            cancels in the ratio. With a `torch.amp.GradScaler`: `scaler.scale(torch.ones((), device=device))`.
        group: the processes that share the batch; None = the default group, if there is one.

    Returns:
        Scalar, detached, float32 (float64 if the features are), always finite: 0 where the alignment loss has no
        gradient, or where a gradient is not finite.

    Raises:
        ConfigError: if the features need no gradient.
    """
    if not features_BF.requires_grad:
        raise ConfigError(
            "The features need no gradient, so there is nothing to balance. Is the network frozen, or was it run "
            "under torch.no_grad? Use fixed weighting then."
        )
    losses = (classification_loss, alignment_loss)
    squares = torch.stack([_squared_gradient(loss, features_BF, grad_scale) for loss in losses])
    if world_size(group) > 1:
        dist.all_reduce(squares, group=group)
    classification, alignment = squares.sqrt().unbind()
    return torch.nan_to_num(classification / alignment, nan=0.0, posinf=0.0)


def combine_losses(
    classification_loss: Tensor, alignment_loss: Tensor, weight: float | Tensor, ratio: Tensor | None = None
) -> Tensor:
    """The loss to minimize: fixed weighting without a ratio, balanced by gradients with one.

    Fixed: L_cls + w L_align. Balanced: (1 - w) L_cls + w r L_align with r the `gradient_ratio`: both parts pull at the
    features in the proportion 1 - w to w. Source: TextTeacher, arXiv 2605.22098.

    Args:
        classification_loss: scalar.
        alignment_loss: scalar.
        weight: w, 0 or more; with a ratio from 0 to 1. A scalar tensor is not checked: that would wait for the
            accelerator.
        ratio: scalar; no gradient passes through it.

    Returns:
        Scalar.

    Raises:
        ConfigError: if the weight is not allowed.
    """
    limit = math.inf if ratio is None else 1.0
    if not isinstance(weight, Tensor) and not 0 <= weight <= limit:
        allowed = "0 or more" if ratio is None else "from 0 to 1 where gradients are balanced"
        raise ConfigError(f"The weight of the alignment loss is {weight}; it must be {allowed}.")
    if ratio is None:
        return classification_loss + weight * alignment_loss
    return (1 - weight) * classification_loss + weight * ratio.detach() * alignment_loss


def _squared_gradient(loss: Tensor, features_BF: Tensor, grad_scale: Tensor | None) -> Tensor:
    """Squared length of a loss's gradient at this process's features, in float32 at least; scalar."""
    dtype = torch.promote_types(features_BF.dtype, torch.float32)
    if not loss.requires_grad:  # a constant
        return torch.zeros((), dtype=dtype, device=features_BF.device)
    scaled = loss if grad_scale is None else loss * grad_scale
    (gradient,) = torch.autograd.grad(scaled, features_BF, retain_graph=True, materialize_grads=True)
    return gradient.to(dtype).square().sum()
