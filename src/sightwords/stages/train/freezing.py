"""Parts of a network that do not learn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from sightwords.backbones import Backbone
from sightwords.errors import ConfigError, UnknownNameError

ALL = "all"


def freeze(backbone: Backbone, patterns: Sequence[str]) -> None:
    """Switch off the gradient of the parameters that patterns name.

    Args:
        backbone: the network.
        patterns: names of modules or parameters (`stem`, `layers.0`), with `*` for any part of a name; `all` is
            everything but the classifier.

    Raises:
        UnknownNameError: a pattern matches nothing.
        ConfigError: nothing is left to learn.
    """
    names = [name for name, _ in backbone.network.named_parameters()]
    head = f"{backbone.classifier_name}."
    for pattern in patterns:
        chosen = {name for name in names if _matches(name, pattern)}
        if pattern == ALL:
            chosen = {name for name in names if not name.startswith(head)}
        if not chosen:
            modules = [name for name, _ in backbone.network.named_modules() if name]
            raise UnknownNameError("part to freeze", pattern, [*modules, ALL])
        for name, parameter in backbone.network.named_parameters():
            if name in chosen:
                parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in backbone.network.parameters()):
        raise ConfigError(f"--freeze {' '.join(patterns)} leaves nothing of the network to learn. Name fewer parts.")


def check_reach(backbone: Backbone) -> None:
    """Refuse text where a feature that it is aligned with is made by frozen parts alone, from one forward pass.

    Raises:
        ConfigError: text would teach nothing but its own head there.
    """
    modes = {module: module.training for module in backbone.modules()}
    size = backbone.input_spec.image_size
    features, _ = backbone.eval()(torch.zeros(2, 3, size, size))
    found = {backbone.features_name or "what the classifier reads": features, **backbone.layer_features}
    for module, mode in modes.items():
        module.training = mode
    stuck = [name for name, feature in found.items() if not feature.requires_grad]
    if stuck:
        raise ConfigError(
            f"Text cannot reach anything that learns by these features: {', '.join(stuck)}. All that makes them is "
            "frozen. Freeze less, align other features, or leave out --embeddings."
        )


def hold_still(modules: Iterable[nn.Module]) -> None:
    """Let normalization and dropout of frozen modules work as in evaluation; called after `train()`."""
    for module in modules:
        own = [p for p in module.parameters() if p is not None]
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def _matches(name: str, pattern: str) -> bool:
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:length]), pattern) for length in range(1, len(parts) + 1))
