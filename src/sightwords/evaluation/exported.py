"""A network from a run's folder or from any file that `sightwords export` writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.export.passes import move_to_device_pass

from sightwords.errors import ArtifactError
from sightwords.hub import choose_device
from sightwords.models.inference import rebuild
from sightwords.models.network_config import KEY, read_network_config
from sightwords.models.onnx_file import OnnxNetwork
from sightwords.models.run_folder import NetworkInfo, RunFolder

_KINDS = "a run's folder, a hub folder, or a file that ends in .safetensors, .onnx or .pt2"
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Model:
    """A network that answers.

    Attributes:
        info: what it is and takes.
        answer: from normalized images (B, 3, S, S) to logits (B, K); on `device`.
        device: where it takes its images.
    """

    info: NetworkInfo
    answer: Callable[[Tensor], Tensor]
    device: torch.device


def open_model(path: Path, device: str) -> Model:
    """Return the network at a path.

    Args:
        path: a run's folder, or what `sightwords export` wrote.
        device: as `--device` names it.

    Raises:
        ArtifactError: there is none, it is damaged, or what belongs to it is missing.
        ConfigError: the device cannot be had.
        MissingExtraError: onnxruntime is not installed.
    """
    place = choose_device(device)
    if path.is_dir():
        return _folder(path, place)
    readers = {".safetensors": _weights, ".onnx": _onnx, ".pt2": _program}
    if not path.is_file():
        raise ArtifactError(f"There is no {path}. Name {_KINDS}.")
    if path.suffix not in readers:
        raise ArtifactError(f"{path} is of no known format. Name {_KINDS}.")
    return readers[path.suffix](path, place)


def _folder(path: Path, device: torch.device) -> Model:
    run = RunFolder(path)
    if run.exists():
        return _built(run.network(), run.load_weights(), path, device)
    if not (path / _CONFIG).is_file() or not (path / _WEIGHTS).is_file():
        raise ArtifactError(f"{path} is neither a run nor a hub folder ({_CONFIG} and {_WEIGHTS}).")
    info = read_network_config(_json(path / _CONFIG), path / _CONFIG)
    return _built(info, _tensors(path / _WEIGHTS), path, device)


def _weights(path: Path, device: torch.device) -> Model:
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        raise ArtifactError(f"{sidecar} is missing: it says what network {path.name} is for. Keep the two together.")
    return _built(read_network_config(_json(sidecar), sidecar), _tensors(path), path, device)


def _onnx(path: Path, device: torch.device) -> Model:
    network = OnnxNetwork(path, device.type)
    return Model(read_network_config(network.metadata.get(KEY), path), network, torch.device("cpu"))


def _program(path: Path, device: torch.device) -> Model:
    files: dict[str, Any] = {_CONFIG: ""}
    try:
        program = torch.export.load(path, extra_files=files)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ArtifactError(f"{path} is no program of torch.export ({type(error).__name__}).") from None
    if device.type != "cpu":
        program = move_to_device_pass(program, device)
    text = files[_CONFIG]
    config = json.loads(text) if text else None
    return Model(read_network_config(config, path), program.module(), device)


def _built(info: NetworkInfo, weights: dict[str, Tensor], path: Path, device: torch.device) -> Model:
    try:
        return Model(info, rebuild(info, weights).network.to(device).eval(), device)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged ({error}).") from None
    return found if isinstance(found, dict) else {}


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} is damaged ({error}).") from None
