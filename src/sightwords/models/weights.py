"""Weights for a network from a local file, with a message that helps where they do not fit."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import timm
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
_NUM_SHOWN = 3


def load_weights(network: nn.Module, path: Path, classifiers: Sequence[str], adapt: Adapt) -> None:
    """Load a file, see `read_weights`, into a network, see `fit_weights`."""
    fit_weights(network, read_weights(path), classifiers, adapt, f"the weights file {path}")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return parameters by name from a .safetensors, .pth or .pt file; nothing in it is executed.

    timm unwraps checkpoints: parameters under `state_dict` or `model`, the moving average where there is one, and
    names as DistributedDataParallel and torch.compile change them.

    Raises:
        ArtifactError: the file is missing, damaged or holds anything but tensors by name.
    """
    if path.is_dir():
        path = path / "model.safetensors"  # a run
    if not path.is_file():
        raise ArtifactError(f"There is no weights file {path}. Give a .safetensors, .pth or .pt file.")
    try:
        state = timm.models.load_state_dict(str(path), weights_only=True)
    except AttributeError:  # no names
        state = {}
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ArtifactError(f"The weights file {path} is damaged or holds more than weights: {error}") from error
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArtifactError(f"The weights file {path} holds no tensors by name. Save a network's state_dict() in it.")
    return dict(state)


def fit_weights(
    network: nn.Module, state: dict[str, Tensor], classifiers: Sequence[str], adapt: Adapt, source: str
) -> None:
    """Load weights into a network. A classifier of another shape starts afresh; all else must fit by name and shape.

    Args:
        network: changed in place.
        state: parameters by name.
        classifiers: names of the layers that may start afresh.
        adapt: asked to rewrite the weights where they do not fit as they are.
        source: where the weights are from, for the message.

    Raises:
        ArtifactError: the weights do not fit.
    """
    own = network.state_dict()  # with the versions of the modules, which torchvision's MNASNet does not load without
    if _misfits(own, state, classifiers):
        state = dict(adapt(dict(state), network))
    if misfits := _misfits(own, state, classifiers):
        listed = "; ".join(f"{kind}: {_first(names)}" for kind, names in misfits.items())
        raise ArtifactError(
            f"{source[0].upper()}{source[1:]} does not fit {type(network).__name__}. {listed}. "
            "Are the model's name, its options and the image size those that the weights were trained with?"
        )
    fresh = _fresh_names(own, state, classifiers)
    own.update({name: value for name, value in state.items() if name not in fresh})
    network.load_state_dict(own)


def _fresh_names(own: Mapping[str, Tensor], state: Mapping[str, Tensor], classifiers: Sequence[str]) -> set[str]:
    """Return all parameters of those classifiers that have any parameter of another shape."""
    fresh = set()
    for classifier in classifiers:
        names = {name for name in own if name.startswith(f"{classifier}.")}
        if any(name in state and state[name].shape != own[name].shape for name in names):
            fresh |= names
    return fresh


def _misfits(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], classifiers: Sequence[str]
) -> dict[str, list[str]]:
    """Return what does not fit, by kind; empty if all does."""
    fresh = _fresh_names(own, state, classifiers)
    wanted = [name for name in own if name not in fresh]
    misfits = {
        # BatchNorm's counter is not in the oldest files, and matters to nothing here
        "Missing": [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")],
        "Unexpected": [name for name in state if name not in own],
        "Of another shape": [
            f"{name} ({list(state[name].shape)}, not {list(own[name].shape)})"
            for name in wanted
            if name in state and state[name].shape != own[name].shape
        ],
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
