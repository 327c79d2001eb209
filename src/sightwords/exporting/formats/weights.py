"""Weights for the stock library: a safetensors file, with classes and preprocessing in a JSON file beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

from sightwords.errors import ConfigError
from sightwords.exporting.check import Check, Checkpoint, Loaded
from sightwords.files import write_text
from sightwords.models.run_folder import network_config


@dataclass(frozen=True)
class WeightsFormat:
    """Weights for timm or torchvision."""

    library: str
    tolerance: float = 0.0

    def write(self, checkpoint: Checkpoint, folder: Path, name: str) -> Path:
        """Write `NAME.safetensors` and `NAME.json`.

        Raises:
            ConfigError: the network is of the other library.
        """
        if checkpoint.library != self.library:
            raise ConfigError(
                f"--format is {self.library}, but the network is {checkpoint.info.model}. "
                f"Use --format {checkpoint.library}."
            )
        save_file(dict(checkpoint.weights), folder / name, metadata={"format": "pt"})
        text = json.dumps(network_config(checkpoint.info), indent=2, ensure_ascii=False) + "\n"
        write_text((folder / name).with_suffix(".json"), text)
        return folder / name

    def load(self, file: Path, checkpoint: Checkpoint) -> Loaded:
        """Load the file into the stock network."""
        network = checkpoint.stock(load_file(file), file.name)
        text = f"into the network of {self.library} with strict=True"
        return Loaded(network, [Check("loads", text, {"strict": True})])

    def snippet(self, checkpoint: Checkpoint, out: str) -> str:
        """Return lines that load the file with the stock library."""
        lines = [f"import {self.library}", "from safetensors.torch import load_file"]
        lines.append(f"network = {checkpoint.factory_call}")
        return "\n".join([*lines, f'network.load_state_dict(load_file("{out}"), strict=True)'])


TIMM, TORCHVISION = WeightsFormat("timm"), WeightsFormat("torchvision")
