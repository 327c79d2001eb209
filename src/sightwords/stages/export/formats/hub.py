"""The folder that timm reads from the Hugging Face hub: `timm.create_model("hf-hub:OWNER/NAME", pretrained=True)`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import load_file

from sightwords.artifacts.network_config import KEY, network_config
from sightwords.errors import ArtifactError, ConfigError
from sightwords.files import write_text
from sightwords.stages.export.check import Check, count_flops, equal_weights, same_graph
from sightwords.stages.export.formats.base import Loaded
from sightwords.stages.export.subject import Subject, load_strictly

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
# of the library's own weights, which these are not
_FOREIGN = ("license", "origin_url", "paper_ids", "paper_name", "tag", "notes", "test_input_size", "test_crop_pct")


class HubFormat:
    """timm's layout on the Hugging Face hub."""

    name = "hub"
    tolerance = 0.0

    def write(self, subject: Subject, folder: Path, name: str) -> Path:
        """Write `config.json` and `model.safetensors` as timm writes them.

        Raises:
            ConfigError: the network is not timm's.
        """
        if subject.library != "timm":
            raise ConfigError(
                f"The layout of the hub is timm's, and the network is {subject.info.model}. "
                f"Use --format {subject.library}, onnx or torch_export."
            )
        stock = subject.stock()
        load_strictly(stock, subject.weights, "the run's model.safetensors")
        config = network_config(subject.info)
        given = {key: config[key] for key in ("label_names", "label_descriptions", "model_args", "pretrained_cfg")}
        timm.models.save_for_hf(stock, str(folder), model_config=given, safe_serialization=True)
        _amend(folder / CONFIG_FILE, config)
        return folder / WEIGHTS_FILE

    def load(self, file: Path, subject: Subject) -> Loaded:
        """Let timm load the folder, and compare weights and preprocessing with the run's."""
        network = timm.create_model(f"local-dir:{file.parent}", pretrained=True).eval()
        load_strictly(subject.stock(), load_file(file), file.name)
        checks = [
            Check("loads", 'by timm.create_model("local-dir:...", pretrained=True), strict=True', {"strict": True}),
            equal_weights(network.state_dict(), subject.weights, file.name),
            same_graph(network, subject.stock()),
            _same_preprocessing(network, subject),
        ]
        return Loaded(network, count_flops(network, subject.info.image_size), checks)

    def snippet(self, subject: Subject, out: str) -> str:
        """Return lines that load the folder with timm."""
        lines = ["import timm", f'network = timm.create_model("local-dir:{out}", pretrained=True)']
        lines.append("transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))")
        return "\n".join(lines)


def _amend(path: Path, config: dict[str, Any]) -> None:
    """Take out what timm knows of its own weights, and add what it has no name for."""
    written = json.loads(path.read_text(encoding="utf-8"))
    pretrained = {key: value for key, value in written["pretrained_cfg"].items() if key not in _FOREIGN}
    amended = {**written, "pretrained_cfg": pretrained, "multi_label": config["multi_label"], KEY: config[KEY]}
    write_text(path, json.dumps(amended, indent=2, ensure_ascii=False) + "\n")


def _same_preprocessing(network: Any, subject: Subject) -> Check:
    found = timm.data.resolve_model_data_config(network, use_test_size=True)
    wanted = network_config(subject.info)["pretrained_cfg"]
    shown = {key: list(found[key]) if isinstance(found[key], tuple) else found[key] for key in found if key in wanted}
    if odd := sorted(key for key, value in shown.items() if value != wanted[key]):
        raise ArtifactError(f"timm would prepare images otherwise than the training did: {', '.join(odd)}.")
    return Check("preprocessing", "timm resolves the run's own size, crop, interpolation, mean and deviation", shown)
