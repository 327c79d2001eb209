"""One ONNX file, with classes and preprocessing in its metadata; it takes batches of any size."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sightwords.errors import ArtifactError, MissingExtraError
from sightwords.evaluation.predict import OnnxNetwork
from sightwords.exporting.check import Check, Checkpoint, Loaded
from sightwords.models.run_folder import metadata_of


class OnnxFormat:
    """ONNX, for onnxruntime and others."""

    library = "onnx"
    # onnxruntime adds in another order; float32 has 7 digits, of which deep networks lose two or three
    tolerance = 1e-4

    def write(self, checkpoint: Checkpoint, folder: Path, name: str) -> Path:
        """Write the stock network with the run's weights as one file.

        Raises:
            MissingExtraError: onnx or onnxscript is not installed.
            ArtifactError: the network cannot be expressed in ONNX, or is larger than one file can be (2 GB).
        """
        onnx = _onnx()
        size = checkpoint.info.image_size
        try:
            with warnings.catch_warnings(action="ignore"):  # of torch's own making
                program = torch.onnx.export(
                    checkpoint.stock(checkpoint.weights), (torch.zeros(2, 3, size, size),), dynamo=True,
                    dynamic_shapes=({0: "batch"},), input_names=["images"], output_names=["logits"],
                    external_data=False, verbose=False,
                )  # fmt: skip
            assert program is not None
            model = program.model_proto
            graph = model.graph
            for entry in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
                del entry.metadata_props[:]  # where in torch's code each node comes from, with paths of this machine
            onnx.helper.set_model_props(model, metadata_of(checkpoint.info))
            onnx.save_model(model, folder / name)
        except Exception as error:  # the exporter passes on whatever a network's code and its own passes raise
            reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
            raise ArtifactError(f"The network cannot be written as ONNX: {reason}") from error
        return folder / name

    def load(self, file: Path, checkpoint: Checkpoint) -> Loaded:
        """Let ONNX's checker read the file, and onnxruntime load it."""
        checked = _checked(file)
        return Loaded(OnnxNetwork(file, num_threads=torch.get_num_threads()), [checked], _count_flops(file))

    def snippet(self, checkpoint: Checkpoint, out: str) -> str:
        """Return lines that run the file."""
        size = checkpoint.info.image_size
        lines = ["import numpy, onnxruntime", f'session = onnxruntime.InferenceSession("{out}")']
        lines.append("classes = session.get_modelmeta().custom_metadata_map['label_names']")
        images = f"numpy.zeros((1, 3, {size}, {size}), numpy.float32)"
        return "\n".join([*lines, f"(logits,) = session.run(None, {{'images': {images}}})  # normalized images"])


ONNX = OnnxFormat()


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.shape_inference
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise MissingExtraError(error.name or "onnx", "export") from None
    return onnx


def _checked(path: Path) -> Check:
    """Run ONNX's own checker over a file that must need no other."""
    onnx = _onnx()
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # errors of the checker and of shape inference have no common base
        raise ArtifactError(f"ONNX's checker refuses {path}: {str(error).partition(chr(10))[0]}") from error
    outside = [tensor.name for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise ArtifactError(f"{path} keeps {outside[0]} in another file.")
    opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    text = f"ONNX's checker passes it (opset {opset['ai.onnx']}), onnxruntime loads it; one file"
    return Check("loads", text, {"opset": opset, "num_nodes": len(model.graph.node), "onnx": onnx.__version__})


def _count_flops(path: Path) -> int | None:
    """Return the multiplications and additions of convolutions and matrix products for one image.

    These are what `torch.utils.flop_counter` counts, so that the two can be compared. None where the file's shapes are
    not known before it runs.
    """
    onnx = _onnx()
    model = onnx.load(path)
    del model.graph.value_info[:]
    for value in (model.graph.input[0], *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    counts = [_node_flops(node, shapes) for node in graph.node]
    return None if None in counts else sum(count or 0 for count in counts)


def _node_flops(node: Any, shapes: Mapping[str, list[int]]) -> int | None:
    if node.op_type not in ("Conv", "MatMul", "Gemm"):
        return 0
    output, left, right = (shapes.get(name, [0]) for name in (node.output[0], *node.input[:2]))
    if 0 in (*output, *left, *right):
        return None
    if node.op_type == "Conv":
        return 2 * math.prod(output) * math.prod(right[1:])
    is_transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return 2 * math.prod(output) * (left[0] if is_transposed else left[-1])
