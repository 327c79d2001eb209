"""Weights for the stock library: a safetensors file, with classes and preprocessing in a JSON file beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

from sightwords.errors import ConfigError
from sightwords.exporting.check import Check, count_flops, same_graph
from sightwords.exporting.checkpoint import Subject, load_strictly
from sightwords.exporting.formats.base import Loaded
from sightwords.files import write_text
from sightwords.models.network_config import network_config


@dataclass(frozen=True)
class WeightsFormat:
    """Weights for timm or torchvision.

    Attributes:
        name: the library.
    """

    name: str
    tolerance: float = 0.0

    def write(self, subject: Subject, folder: Path, name: str) -> Path:
        """Write `NAME.safetensors` and `NAME.json`.

        Raises:
            ConfigError: the network is of the other library.
        """
        if subject.library != self.name:
            raise ConfigError(
                f"--format is {self.name}, but the network is {subject.info.model}. Use --format {subject.library}."
            )
        file = folder / name
        save_file(dict(subject.weights), file, metadata={"format": "pt"})
        text = json.dumps(network_config(subject.info), indent=2, ensure_ascii=False) + "\n"
        write_text(file.with_suffix(".json"), text)
        return file

    def load(self, file: Path, subject: Subject) -> Loaded:
        """Load the file into the stock network."""
        stock = subject.stock()
        load_strictly(stock, load_file(file), file.name)
        text = f"into the network of {subject.library} with strict=True"
        checks = [Check("loads", text, {"strict": True}), same_graph(subject.network, subject.stock())]
        return Loaded(stock, count_flops(stock, subject.info.image_size), checks)

    def snippet(self, subject: Subject, out: str) -> str:
        """Return lines that load the file with the stock library."""
        lines = [f"import {subject.library}", "from safetensors.torch import load_file"]
        lines.append(f"network = {subject.factory_call}")
        return "\n".join([*lines, f'network.load_state_dict(load_file("{out}"), strict=True)'])
