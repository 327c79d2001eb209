"""What travels with an exported network, whatever its format: architecture, preprocessing, classes.

One JSON object in the layout of timm's `config.json`, so that a stock library, or a few lines of anyone's code, can
read it: `architecture`, `num_classes`, `label_names` (class ids), `label_descriptions` (readable names), `model_args`
(arguments of the library's factory) and `pretrained_cfg` (size, crop, interpolation, mean, standard deviation). The
entry `sightwords` has the same and what timm has no name for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sightwords.errors import ArtifactError
from sightwords.models.run_folder import NetworkInfo

KEY = "sightwords"


def network_config(info: NetworkInfo) -> dict[str, Any]:
    """Return what travels with a network, as JSON values."""
    library, _, name = info.model.partition(":")
    return {
        "architecture": name.partition(".")[0],  # without the tag of the weights that it may have started from
        "library": library,
        "num_classes": info.num_classes,
        "label_names": info.class_ids,
        "label_descriptions": dict(zip(info.class_ids, info.class_names, strict=True)),
        "multi_label": info.multi_label,
        "model_args": {key: value for key, value in info.factory_kwargs.items() if key != "num_classes"},
        "pretrained_cfg": pretrained_cfg(info),
        KEY: asdict(info),
    }


def pretrained_cfg(info: NetworkInfo) -> dict[str, Any]:
    """Return the preprocessing under timm's names."""
    return {
        "input_size": [3, info.image_size, info.image_size],
        "interpolation": info.interpolation,
        "crop_pct": info.crop_pct,
        "crop_mode": "center",
        "mean": list(info.mean),
        "std": list(info.std),
        "num_classes": info.num_classes,
    }


def metadata_of(info: NetworkInfo) -> dict[str, str]:
    """Return the same as texts by name, for formats that keep nothing else: each value is JSON."""
    config = network_config(info)
    flat = {**config.pop("pretrained_cfg"), **config}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in flat.items()}


def read_network_config(config: Mapping[str, Any] | str | None, where: Path) -> NetworkInfo:
    """Return what a network is, from what traveled with it.

    Args:
        config: the object, or the text of its entry `sightwords`; None where there was nothing.
        where: the file, for the message.

    Raises:
        ArtifactError: it is not what `sightwords export` writes.
    """
    try:
        values = json.loads(config) if isinstance(config, str) else (config or {})[KEY]
        return NetworkInfo(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(
            f"{where} does not say what network it holds and what it takes; files of `sightwords export` say so."
        ) from None
