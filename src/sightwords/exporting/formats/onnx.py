"""One ONNX file, with classes and preprocessing in its metadata; it takes batches of any size."""

from __future__ import annotations

from pathlib import Path

import torch

from sightwords.evaluation.predict import OnnxNetwork
from sightwords.exporting.check import Check, same_graph
from sightwords.exporting.checkpoint import Subject, load_strictly
from sightwords.exporting.formats.base import Loaded
from sightwords.models.network_config import metadata_of
from sightwords.models.onnx_file import check_onnx, count_flops, write_onnx


class OnnxFormat:
    """ONNX, for onnxruntime and others."""

    name = "onnx"
    # onnxruntime adds in another order; float32 has 7 digits, of which deep networks lose two or three
    tolerance = 1e-4

    def write(self, subject: Subject, folder: Path, name: str) -> Path:
        """Write the stock network with the run's weights."""
        stock = subject.stock()
        load_strictly(stock, subject.weights, "the run's model.safetensors")
        size = subject.info.image_size
        write_onnx(stock, torch.zeros(2, 3, size, size), folder / name, metadata_of(subject.info))
        return folder / name

    def load(self, file: Path, subject: Subject) -> Loaded:
        """Let ONNX's checker read the file, and onnxruntime load it."""
        found = check_onnx(file)
        text = f"ONNX's checker passes it (opset {found['opset']['ai.onnx']}), onnxruntime loads it; one file"
        checks = [Check("loads", text, found), same_graph(subject.network, subject.stock())]
        return Loaded(OnnxNetwork(file, num_threads=torch.get_num_threads()), count_flops(file), checks)

    def snippet(self, subject: Subject, out: str) -> str:
        """Return lines that run the file."""
        size = subject.info.image_size
        lines = ["import numpy, onnxruntime", f'session = onnxruntime.InferenceSession("{out}")']
        lines.append("classes = session.get_modelmeta().custom_metadata_map['label_names']")
        images = f"numpy.zeros((1, 3, {size}, {size}), numpy.float32)"
        return "\n".join([*lines, f"(logits,) = session.run(None, {{'images': {images}}})  # normalized images"])
