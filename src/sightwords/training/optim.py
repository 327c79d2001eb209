"""Optimizer and learning-rate schedule, both timm's."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from inspect import signature
from typing import Any

from timm.optim import (
    create_optimizer_v2,
    get_optimizer_class,
    list_optimizers,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from timm.scheduler import CosineLRScheduler
from torch import nn, optim

from sightwords.errors import ConfigError, UnknownNameError
from sightwords.models import Backbone
from sightwords.training.config import TrainConfig
from sightwords.training.task import Task

ALL = "all"


def freeze(backbone: Backbone, patterns: Sequence[str]) -> None:
    """Switch off the gradient of the parameters that patterns name.

    A pattern names modules or parameters (`stem`, `layers.0`), with `*` for any part of a name; `all` is everything but
    the classifier.

    Raises:
        UnknownNameError: a pattern matches nothing.
        ConfigError: nothing is left to train.
    """
    parameters = dict(backbone.network.named_parameters())
    head = f"{backbone.classifier_name}."
    for pattern in patterns:
        inside = f"{pattern}.*"
        chosen = {name for name in parameters if fnmatchcase(name, pattern) or fnmatchcase(name, inside)}
        if pattern == ALL:
            chosen = {name for name in parameters if not name.startswith(head)}
        if not chosen:
            modules = [name for name, _ in backbone.network.named_modules() if name]
            raise UnknownNameError("part to freeze", pattern, [*modules, ALL])
        for name in chosen:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(f"--freeze {' '.join(patterns)} leaves nothing of the network to train. Freeze fewer parts.")


def check_trainable(backbone: Backbone) -> None:
    """Refuse to align a feature that frozen parts alone compute, found by one forward pass.

    Raises:
        ConfigError: there is such a feature: text would train nothing but its own head.
    """
    found = {backbone.features_name or "what the classifier reads": backbone.trial(), **backbone.layer_features}
    stuck = [name for name, feature in found.items() if not feature.requires_grad]
    if stuck:
        raise ConfigError(
            f"The text cannot train anything through these features: {', '.join(stuck)}. All layers before them are "
            "frozen. Freeze less, align other features, or leave out --embeddings."
        )


def to_eval_if_frozen(network: nn.Module) -> None:
    """Put normalization and dropout of frozen modules into evaluation mode; called after `train()`."""
    for module in network.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


BODY = "body"
"""Key of a parameter group: whether it belongs to the network below its classifier."""


def build_optimizer(task: Task, config: TrainConfig) -> optim.Optimizer:
    """Return timm's optimizer over what learns: no weight decay on biases, norms and what the network names.

    Groups of the network below its classifier have `BODY` set. With layer decay the rate falls from the last layer to
    the first by a factor for each (BEiT, arXiv 2106.08254); classifier and heads have the full rate.

    Raises:
        UnknownNameError: timm has no optimizer of that name.
        ConfigError: layer decay of a network whose layers timm cannot tell apart.
    """
    known = list_optimizers()
    if config.optimizer not in known:
        raise UnknownNameError("optimizer", config.optimizer, known)
    groups = _network_groups(task, config)
    if task.alignment is not None:
        heads = param_groups_weight_decay(task.alignment, config.weight_decay)
        groups += [{**group, BODY: False} for group in heads if group["params"]]
    optimizer: optim.Optimizer = create_optimizer_v2(
        groups,
        opt=config.optimizer,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        **_fused(config.optimizer, next(task.parameters()).device.type),
    )
    return optimizer


def _fused(name: str, device: str) -> dict[str, bool]:
    """Return the argument that updates all parameters in one kernel, where torch has one for optimizer and device."""
    accepted = signature(get_optimizer_class(name, bind_defaults=False)).parameters
    return {"fused": True} if "fused" in accepted and device in ("cpu", "cuda") else {}


def _network_groups(task: Task, config: TrainConfig) -> list[dict[str, Any]]:
    network, classifier = task.backbone.network, task.backbone.classifier
    plain: set[str] = getattr(network, "no_weight_decay", set)()
    if config.layer_decay is None:
        groups = param_groups_weight_decay(network, config.weight_decay, plain)
    else:
        # what timm needs to tell layers apart; without it all would silently have one rate
        if not (hasattr(network, "group_matcher") or getattr(network, "pretrained_cfg", {}).get("classifier")):
            raise ConfigError(
                f"--layer-decay does not work with {task.backbone.identifier}, whose layers are unknown. Use a network "
                "of timm, or leave it out."
            )
        groups = param_groups_layer_decay(network, config.weight_decay, plain, layer_decay=config.layer_decay)
    last = {id(parameter) for parameter in classifier.parameters()}
    return [part for group in groups for part in _split(group, last) if part["params"]]


def _split(group: dict[str, Any], last: set[int]) -> list[dict[str, Any]]:
    """Return a group without the classifier's parameters, and these with the full rate."""
    parameters = list(group["params"])
    body = [parameter for parameter in parameters if id(parameter) not in last]
    rest = [parameter for parameter in parameters if id(parameter) in last]
    scale = {"lr_scale": 1.0} if "lr_scale" in group else {}
    return [{**group, "params": body, BODY: True}, {**group, **scale, "params": rest, BODY: False}]


def build_schedule(optimizer: optim.Optimizer, config: TrainConfig, steps_per_epoch: int) -> CosineLRScheduler:
    """Return linear warm-up and cosine decay, a function of the step alone (`schedule.step_update(step)`).

    With `--schedule-per epoch` the rate changes only between epochs.
    """
    unit = 1 if config.schedule_per == "epoch" else steps_per_epoch
    return CosineLRScheduler(
        optimizer,
        t_initial=max(1, config.epochs * unit),
        lr_min=min(config.min_lr, config.lr),
        warmup_t=min(round(config.warmup_epochs * unit), config.epochs * unit - 1),
        warmup_lr_init=config.lr * 1e-3 if config.warmup_lr is None else config.warmup_lr,
        t_in_epochs=False,
    )


def set_rates(schedule: CosineLRScheduler, config: TrainConfig, step: int, steps_per_epoch: int) -> None:
    """Set the learning rates of a step, a function of the step alone; in the head's warm-up the body has none."""
    schedule.step_update(step // steps_per_epoch if config.schedule_per == "epoch" else step)
    if in_head_warmup(config, step, steps_per_epoch):
        for group in schedule.optimizer.param_groups:
            group["lr"] = 0.0 if group[BODY] else group["lr"]


def in_head_warmup(config: TrainConfig, step: int, steps_per_epoch: int) -> bool:
    """Whether only classifier and heads learn in this step."""
    return step < config.head_warmup_epochs * steps_per_epoch
