"""Networks as ONNX files: written and checked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightwords.errors import ArtifactError, ConfigError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor, nn

EXTRA = "export"
INPUT, OUTPUT = "images", "logits"
# a protobuf message holds no more, and the file shall need no other beside it
MAX_BYTES = 2 * 2**30 - 2**24


def write_onnx(network: nn.Module, images_BCHW: Tensor, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a network as one ONNX file that takes batches of any size.

    Args:
        network: in eval mode, on the CPU.
        images_BCHW: an example of its input, at least two images.
        path: the file.
        metadata: what is kept in the file's `metadata_props`.

    Raises:
        ConfigError: the weights are larger than one ONNX file can be.
        MissingExtraError: onnx or onnxscript is not installed.
        ArtifactError: the network cannot be expressed in ONNX.
    """
    import torch

    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if num_bytes > MAX_BYTES:
        raise ConfigError(f"{num_bytes:,} bytes of weights do not fit into one ONNX file. Use --format torch_export.")
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise MissingExtraError(error.name or "onnx", EXTRA) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making
            program = torch.onnx.export(
                network, (images_BCHW,), dynamo=True, dynamic_shapes=({0: "batch"},), input_names=[INPUT],
                output_names=[OUTPUT], external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:  # the exporter passes on whatever a network's code and its own passes raise
        raise ArtifactError(f"The network cannot be written as ONNX: {_first_line(error)}") from error
    assert program is not None
    model = program.model_proto
    for entries in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del entries.metadata_props[:]  # where in torch's code each node comes from, with paths of this machine
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save_model(model, path)


def check_onnx(path: Path) -> dict[str, Any]:
    """Run ONNX's own checker over a file; return what it is.

    Raises:
        ArtifactError: the checker finds fault, or the file needs another one.
    """
    onnx = _onnx()
    model = onnx.load(path, load_external_data=False)
    outside = [tensor.name for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise ArtifactError(f"{path} keeps {outside[0]} in another file.")
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # errors of the checker and of shape inference have no common base
        raise ArtifactError(f"ONNX's checker refuses {path}: {_first_line(error)}") from error
    opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return {"opset": opset, "num_nodes": len(model.graph.node), "onnx": onnx.__version__}


def count_flops(path: Path) -> int | None:
    """Return the multiplications and additions of convolutions and matrix products for one image.

    These are what `torch.utils.flop_counter` counts, so that the two can be compared. None where the file's shapes
    cannot be told before it runs.
    """
    onnx = _onnx()
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    counts = [_node_flops(node, shapes) for node in graph.node]
    return None if any(count is None for count in counts) else sum(count or 0 for count in counts)


def _node_flops(node: Any, shapes: Mapping[str, list[int]]) -> int | None:
    if node.op_type not in ("Conv", "MatMul", "Gemm"):
        return 0
    known = [shapes.get(name) for name in (node.output[0], *node.input[:2])]
    if any(shape is None or 0 in shape for shape in known):
        return None
    output, left, right = (shape or [] for shape in known)
    if node.op_type == "Conv":
        return 2 * math.prod(output) * math.prod(right[1:])
    is_turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return 2 * math.prod(output) * (left[0] if is_turned else left[-1])


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.shape_inference
    except ImportError:
        raise MissingExtraError("onnx", EXTRA) from None
    return onnx


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
