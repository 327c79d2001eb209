"""Weights for a network from a local file, with a message that helps where they do not fit."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torchvision
from safetensors import SafetensorError
from torch import Tensor, nn

from sightwords.errors import ArtifactError
from sightwords.models.backbone import Backbone

Adapt = Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]]
"""Rewrites weights of the same architecture for a network: other names, other image size."""

OFFLINE = (
    "Without a network connection, download the file elsewhere and give its path (.safetensors, .pth) in place of "
    "'pretrained'; or train from scratch."
)
_WRAPPING_KEYS = ("state_dict", "model", "model_state_dict")
_WRAPPING_PREFIXES = ("module.", "_orig_mod.", "network.")
_NUM_SHOWN = 3


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads parameters by name from a .safetensors, .pth or .pt file; nothing in it is executed.

    Checkpoints that hold the parameters under `state_dict` or `model` are unwrapped, as are names that begin with
    what DistributedDataParallel, torch.compile or Backbone put before them.

    Raises:
        ArtifactError: if the file is missing, damaged or holds anything but tensors by name.
    """
    if not path.is_file():
        raise ArtifactError(f"There is no weights file {path}. Give a .safetensors, .pth or .pt file.")
    try:
        state = _load(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ArtifactError(f"The weights file {path} is damaged or holds more than weights: {error}") from error
    if isinstance(state, Mapping):
        state = next((state[key] for key in _WRAPPING_KEYS if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArtifactError(f"The weights file {path} holds no tensors by name. Save a network's state_dict() in it.")
    return _strip_prefixes(dict(state))


def load_weights(network: nn.Module, path: Path, classifiers: Sequence[str], adapt: Adapt | None) -> tuple[str, ...]:
    """Loads a file, see `read_weights`, into a network, see `fit_weights`."""
    return fit_weights(network, read_weights(path), classifiers, adapt, f"the weights file {path}")


def fit_weights(
    network: nn.Module, state: dict[str, Tensor], classifiers: Sequence[str], adapt: Adapt | None, source: str
) -> tuple[str, ...]:
    """Loads weights into a network. A classifier of another shape starts afresh, as in fine-tuning.

    Everything else must fit, name by name and shape by shape.

    Args:
        network: changed in place.
        state: parameters by name.
        classifiers: names of the layers that may start afresh.
        adapt: asked to rewrite the weights where they do not fit as they are.
        source: where the weights are from, in words, for the message.

    Returns:
        Names of the parameters that start afresh.

    Raises:
        ArtifactError: the weights do not fit.
    """
    if adapt is not None and _misfits(network, state, classifiers):
        state = dict(adapt(dict(state), network))
    misfits = _misfits(network, state, classifiers)
    if misfits:
        listed = "; ".join(f"{kind}: {_first(names)}" for kind, names in misfits.items())
        raise ArtifactError(
            f"{source[0].upper()}{source[1:]} does not fit {type(network).__name__}. {listed}. "
            "Are the model's name, its options and the image size those that the weights were trained with?"
        )
    own = network.state_dict()  # with the versions of the modules, which torchvision's MNASNet does not load without
    fresh = _fresh_names(own, state, classifiers)
    own.update({name: value for name, value in state.items() if name not in fresh})
    network.load_state_dict(own, strict=True)
    return tuple(sorted(fresh))


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    # training checkpoints often hold the parsed arguments, a plain record
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    found = next((prefix for prefix in _WRAPPING_PREFIXES if all(name.startswith(prefix) for name in state)), None)
    if found is None:
        return state
    return _strip_prefixes({name.removeprefix(found): value for name, value in state.items()})


def _fresh_names(own: Mapping[str, Tensor], state: Mapping[str, Tensor], classifiers: Sequence[str]) -> set[str]:
    """All parameters of those classifiers that have any parameter of another shape."""
    fresh = set()
    for classifier in classifiers:
        names = {name for name in own if name.startswith(f"{classifier}.")}
        if any(name in state and state[name].shape != own[name].shape for name in names):
            fresh |= names
    return fresh


def _misfits(network: nn.Module, state: Mapping[str, Tensor], classifiers: Sequence[str]) -> dict[str, list[str]]:
    """What does not fit, by kind; empty if all does."""
    own = network.state_dict()
    # BatchNorm's counter is not in the oldest files, and matters to nothing here
    wanted = own.keys() - _fresh_names(own, state, classifiers)
    missing = [name for name in own if name in wanted - state.keys() and not name.endswith("num_batches_tracked")]
    shapes = [
        f"{name} ({list(state[name].shape)}, not {list(own[name].shape)})"
        for name in own
        if name in wanted & state.keys() and state[name].shape != own[name].shape
    ]
    misfits = {
        "Missing": missing,
        "Unexpected": [name for name in state if name not in own],
        "Of another shape": shapes,
    }
    return {kind: names for kind, names in misfits.items() if names}


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NUM_SHOWN} more" if len(names) > _NUM_SHOWN else ""
    return ", ".join(names[:_NUM_SHOWN]) + more


_SWAG_LICENSE = "cc-by-nc-4.0"  # as torchvision's README says of these weights, which name a license by its address


def pretrained_source(backbone: Backbone) -> tuple[str, str | None]:
    """Return name ("timm:resnet50.a1_in1k") and license of the weights that `pretrained` gives a network.

    timm names a license for most of its weights. torchvision names one for SWAG weights alone, and says of the others
    that they may have terms of their own, from the data that they were trained on: theirs is None.
    """
    library, _, name = backbone.identifier.partition(":")
    if library == "timm":
        config = backbone.network.pretrained_cfg
        assert isinstance(config, dict)
        tagged = ".".join(part for part in (config.get("architecture") or name, config.get("tag")) if part)
        license = config.get("license")
        return f"timm:{tagged}", None if license in (None, "unknown") else str(license)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    is_swag = "SWAG" in str(weights.meta.get("license", ""))
    return f"torchvision:{name}/{weights.name}", _SWAG_LICENSE if is_swag else None
