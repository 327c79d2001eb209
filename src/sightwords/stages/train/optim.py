"""Optimiser and learning-rate schedule, both timm's."""

from __future__ import annotations

from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import CosineLRScheduler
from torch import nn, optim

from sightwords.errors import UnknownNameError
from sightwords.stages.train.config import TrainConfig


def build_optimizer(task: nn.Module, config: TrainConfig) -> optim.Optimizer:
    """Return timm's optimiser over all parameters of the task, no weight decay on biases and norms.

    Raises:
        UnknownNameError: timm has no optimiser of that name.
    """
    known = list_optimizers()
    if config.optimizer not in known:
        raise UnknownNameError("optimizer", config.optimizer, known)
    optimizer: optim.Optimizer = create_optimizer_v2(
        task, opt=config.optimizer, lr=config.lr, weight_decay=config.weight_decay, momentum=config.momentum
    )
    return optimizer


def build_schedule(optimizer: optim.Optimizer, config: TrainConfig, steps_per_epoch: int) -> CosineLRScheduler:
    """Return linear warm-up and cosine decay, a function of the step alone (`schedule.step_update(step)`)."""
    return CosineLRScheduler(
        optimizer,
        t_initial=max(1, config.epochs * steps_per_epoch),
        lr_min=min(config.min_lr, config.lr),
        warmup_t=min(round(config.warmup_epochs * steps_per_epoch), config.epochs * steps_per_epoch - 1),
        warmup_lr_init=config.lr * 1e-3,
        t_in_epochs=False,
    )
