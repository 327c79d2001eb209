"""The formats of an export by name."""

from __future__ import annotations

from sightwords.stages.export.config import FormatName
from sightwords.stages.export.formats.base import Format, Loaded
from sightwords.stages.export.formats.hub import HubFormat
from sightwords.stages.export.formats.onnx import OnnxFormat
from sightwords.stages.export.formats.program import ProgramFormat
from sightwords.stages.export.formats.weights import WeightsFormat

__all__ = ["FORMATS", "Format", "Loaded"]

FORMATS: dict[FormatName, Format] = {
    "timm": WeightsFormat("timm"),
    "torchvision": WeightsFormat("torchvision"),
    "onnx": OnnxFormat(),
    "torch_export": ProgramFormat(),
    "hub": HubFormat(),
}
