"""The formats of an export by name, and what a format is; nothing heavy is imported before a format is used."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sightwords.exporting.check import Checkpoint, Loaded

# `--format` -> module and name of the format, and how its file ends; a format with no ending writes a folder.
# A format of your own is one file and one line here.
FORMATS = {
    "timm": ("sightwords.exporting.formats.weights:TIMM", ".safetensors"),
    "torchvision": ("sightwords.exporting.formats.weights:TORCHVISION", ".safetensors"),
    "onnx": ("sightwords.exporting.formats.onnx:ONNX", ".onnx"),
    "torch_export": ("sightwords.exporting.formats.program:TORCH_EXPORT", ".pt2"),
    "hub": ("sightwords.exporting.formats.hub:HUB", ""),
}


class Format(Protocol):
    """How to write a network, how its users read it, and how far its outputs may differ."""

    @property
    def library(self) -> str:
        """The library that reads it, as the Hugging Face hub names it."""

    @property
    def tolerance(self) -> float:
        """Largest difference of outputs, as a fraction of the largest; 0: none."""

    def write(self, checkpoint: Checkpoint, folder: Path, name: str) -> Path:
        """Write the network into a folder; return the file that holds the weights.

        Args:
            checkpoint: the network.
            folder: where; it is empty.
            name: of the file that the user asked for.
        """

    def load(self, file: Path, checkpoint: Checkpoint) -> Loaded:
        """Read what `write` wrote as its users do, without anything of ours where that is possible.

        Raises:
            ArtifactError: it does not load, or is not the stock network.
        """

    def snippet(self, checkpoint: Checkpoint, out: str) -> str:
        """Return lines of Python that load the file or folder `out`."""


def load_format(name: str) -> Format:
    """Return the format of that name, one of `FORMATS`."""
    found: Format = resolve_name(FORMATS[name][0])
    return found
