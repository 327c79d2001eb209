"""`sightwords export`: the plain network as a file of the stock library."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from sightwords.artefacts.run_folder import NetworkInfo, RunFolder
from sightwords.backbones import build_backbone
from sightwords.errors import ConfigError
from sightwords.files import atomic_path, write_text
from sightwords.stages.export.config import ExportConfig
from sightwords.stages.export.weights import stock_network, verify


@dataclass(frozen=True)
class ExportResult:
    """What was exported.

    Attributes:
        out: the weights.
        sidecar: class names and preprocessing, JSON.
        snippet: Python that loads the file with the stock library alone.
    """

    out: Path
    sidecar: Path
    snippet: str

    def summary(self) -> str:
        """Return what was written and how to load it."""
        verified = "Verified: loads with strict=True into the stock network, outputs equal bit by bit."
        wrote = f"Wrote {self.out} and {self.sidecar.name} (classes, preprocessing). Load it with:"
        return f"{verified}\n{wrote}\n\n{self.snippet}\n"

    @property
    def next_command(self) -> str:
        """Nothing follows: the network is ready for use."""
        return ""


def run(config: ExportConfig) -> ExportResult:
    """Export a run's network, and verify the file before it is called done.

    Raises:
        ConfigError: the format is not that of the run's library.
        ArtefactError: the run is unfinished, or the file does not give the trained network's outputs.
    """
    folder = RunFolder(config.run)
    info, weights = folder.network(), folder.load_weights()
    library, _, name = info.model.partition(":")
    if config.format not in (None, library):
        raise ConfigError(f"--format is {config.format}, but the network is {info.model}. Use --format {library}.")
    backbone = build_backbone(info.model, info.num_classes, info.image_size, **info.model_kwargs)
    backbone.load_weights(weights)
    images = torch.rand(4, 3, info.image_size, info.image_size, generator=torch.Generator().manual_seed(0))
    with atomic_path(config.out) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})
        stock = stock_network(library, name, info.factory_kwargs)
        verify(temporary, stock, backbone.network, images)
    sidecar = config.out.with_suffix(".json")
    write_text(sidecar, json.dumps(_sidecar(info, name), indent=2, ensure_ascii=False) + "\n")
    return ExportResult(config.out, sidecar, _snippet(info, library, name, config.out))


def _sidecar(info: NetworkInfo, name: str) -> dict[str, object]:
    """Return classes and preprocessing under the names that timm's pretrained_cfg uses."""
    size = (3, info.image_size, info.image_size)
    config = {"input_size": size, "interpolation": info.interpolation, "crop_pct": info.crop_pct}
    config |= {"mean": info.mean, "std": info.std, "num_classes": info.num_classes, "label_names": info.class_names}
    return {"architecture": name, "pretrained_cfg": config, "sightwords": asdict(info)}


def _snippet(info: NetworkInfo, library: str, name: str, out: Path) -> str:
    shown = "".join(f", {key}={value!r}" for key, value in info.factory_kwargs.items())
    maker = {"timm": "timm.create_model", "torchvision": "torchvision.models.get_model"}[library]
    lines = [f"import {library}", "from safetensors.torch import load_file", f'network = {maker}("{name}"{shown})']
    return "\n".join("  " + line for line in [*lines, f'network.load_state_dict(load_file("{out}"), strict=True)'])
