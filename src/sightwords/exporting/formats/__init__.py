"""The formats of an export by name."""

from __future__ import annotations

from sightwords.exporting.config import FormatName
from sightwords.exporting.formats.base import Format, Loaded
from sightwords.exporting.formats.hub import HubFormat
from sightwords.exporting.formats.onnx import OnnxFormat
from sightwords.exporting.formats.program import ProgramFormat
from sightwords.exporting.formats.weights import WeightsFormat

__all__ = ["FORMATS", "Format", "Loaded"]

FORMATS: dict[FormatName, Format] = {
    "timm": WeightsFormat("timm"),
    "torchvision": WeightsFormat("torchvision"),
    "onnx": OnnxFormat(),
    "torch_export": ProgramFormat(),
    "hub": HubFormat(),
}
