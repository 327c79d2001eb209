"""A run's network, and the checks of what it is exported to; each says what it found, or raises ArtifactError."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import distributions
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sightwords.errors import ArtifactError
from sightwords.models.inference import rebuild
from sightwords.models.run_folder import NetworkInfo, RunFolder

Network = Callable[[Tensor], Tensor]
"""From normalized images (B, 3, S, S) to logits (B, K)."""

LATENCY_BATCHES = (1, 8)
_FACTORIES = {"timm": "timm.create_model", "torchvision": "torchvision.models.get_model"}
_PACKAGES = ("sightwords", "torch", "torchvision", "timm", "safetensors", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Checkpoint:
    """A run with its network as it was trained, in eval mode, on the CPU."""

    folder: RunFolder
    info: NetworkInfo
    weights: Mapping[str, Tensor]
    network: nn.Module

    @property
    def library(self) -> str:
        """`timm` or `torchvision`."""
        return self.info.model.partition(":")[0]

    @property
    def name(self) -> str:
        """The network's name in its library."""
        return self.info.model.partition(":")[2]

    def stock(self, weights: Mapping[str, Tensor] | None = None, where: str = "model.safetensors") -> nn.Module:
        """Return the library's own network, made by its own factory, in eval mode, with weights from the file `where`.

        Raises:
            ArtifactError: a name or shape differs, or the network refuses a plain dictionary.
        """
        network: nn.Module = resolve_name(_FACTORIES[self.library])(self.name, **self.info.factory_kwargs).eval()
        try:
            if weights is not None:
                network.load_state_dict(OrderedDict(weights), strict=True)
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"{where} does not load into the stock network: {error}") from None
        return network

    @property
    def factory_call(self) -> str:
        """The call of that factory, as a line of Python."""
        shown = "".join(f", {key}={value!r}" for key, value in self.info.factory_kwargs.items())
        return f'{_FACTORIES[self.library]}("{self.name}"{shown})'


def open_checkpoint(folder: RunFolder) -> Checkpoint:
    """Return a run's network; raise ArtifactError where the run is unfinished or damaged."""
    info, weights = folder.network(), folder.load_weights()
    return Checkpoint(folder, info, weights, rebuild(info, weights).network.eval())


@dataclass(frozen=True)
class Check:
    """A check that was passed: what was found in words, and as JSON values."""

    name: str
    text: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Loaded:
    """A file that was written, read back as its users read it.

    Attributes:
        network: what it computes.
        checks: what was found while it was loaded.
        flops: of a network that is not a torch module, multiplications and additions for one image if they are known.
    """

    network: Network
    checks: list[Check]
    flops: int | None = None


@dataclass(frozen=True)
class Certificate:
    """What was verified. It is written only where every check was passed.

    Attributes:
        file: name of the file that it is about.
        format: its format.
        network: library, name, and arguments of the factory.
        images: kind, source and number of what it was verified with.
        checks: what was found.
        sha256: of the file's bytes.
    """

    file: str
    format: str
    network: dict[str, Any]
    images: dict[str, Any]
    checks: list[Check]
    sha256: str

    def text(self) -> str:
        """Return what was verified, in a few lines."""
        lines = [f"Verified with {self.images['num_images']} {self.images['kind']} ({self.images['source']}):"]
        return "\n".join(lines + [f"  {check.name:<13} {check.text}" for check in self.checks])

    def json(self) -> str:
        """Return everything as JSON, with the versions and the machine that it was verified by."""
        values = {
            **asdict(self),
            "versions": {one.name: one.version for one in distributions() if one.name in _PACKAGES},
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def same_graph(network: nn.Module, stock: nn.Module) -> Check:
    """Compare modules (names and kinds, in order) and tensors (names, shapes and types) with the stock network's."""
    for what, mine, theirs in zip(("module", "tensor"), _graph(network), _graph(stock), strict=True):
        if mine != theirs:
            odd = next(iter(set(mine) ^ set(theirs)), "their order")
            raise ArtifactError(f"The network is not the stock one: a {what} differs, {odd}.")
    num_modules, num_parameters = len(list(stock.modules())), sum(p.numel() for p in stock.parameters())
    text = f"{num_modules} modules and {num_parameters:,} parameters, names, kinds and shapes as in the stock network"
    return Check("same graph", text, {"num_modules": num_modules, "num_parameters": num_parameters})


def same_flops(loaded: Loaded, stock: nn.Module, image_size: int) -> Check:
    """Compare the operations for one image, its side in pixels, with the stock network's."""
    counted = count_flops(loaded.network, image_size) if isinstance(loaded.network, nn.Module) else loaded.flops
    expected = count_flops(stock, image_size)
    if counted is not None and counted != expected:
        raise ArtifactError(f"The exported network takes {counted:,} FLOPs for an image, the stock one {expected:,}.")
    whose = "as the stock network" if counted is not None else "of the stock network; the file's cannot be counted"
    return Check("same FLOPs", f"{expected:,} for an image, {whose}", {"flops": counted, "stock_flops": expected})


@torch.inference_mode()
def count_flops(network: Network, image_size: int) -> int:
    """Return the multiplications and additions for one image, as torch counts them."""
    # torch does not count its fused attention on the CPU; written out, it does
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, image_size, image_size))
    return int(counter.get_total_flops())


@torch.inference_mode()
def same_outputs(network: Network, trained: nn.Module, images_NCHW: Tensor, tolerance: float) -> Check:
    """Compare outputs for batches of several sizes with the trained network's.

    Args:
        network: the exported network.
        trained: the trained network, in eval mode.
        images_NCHW: normalized images.
        tolerance: largest difference that is allowed, as a fraction of the largest output (at least 1); 0: every bit.
    """
    sizes = sorted({min(size, len(images_NCHW)) for size in (1, 2, 5, len(images_NCHW))})
    largest, is_equal = 0.0, True
    for size in sizes:
        expected, got = trained(images_NCHW[:size]), network(images_NCHW[:size])
        if expected.shape != got.shape:
            raise ArtifactError(f"{size} images give outputs of shape {tuple(got.shape)}, not {tuple(expected.shape)}.")
        difference = (expected - got).abs().max().item()
        allowed = tolerance * max(1.0, expected.abs().max().item())
        if not difference <= allowed or (tolerance == 0 and not torch.equal(expected, got)):
            raise ArtifactError(f"The exported network gives other outputs: largest difference {difference:g}.")
        largest, is_equal = max(largest, difference), is_equal and torch.equal(expected, got)
    bound = "every bit" if tolerance == 0 else f"at most {tolerance:g} of the largest output"
    found = "equal in every bit" if is_equal else f"largest difference {largest:.2g}, allowed is {bound}"
    batches = ", ".join(map(str, sizes))
    values = {"largest_difference": largest, "tolerance": tolerance, "bit_equal": is_equal, "batch_sizes": sizes}
    return Check("same outputs", f"{found}; batches of {batches}", values)


def latency(network: Network, stock: nn.Module, images_NCHW: Tensor, num_pairs: int) -> Check:
    """Measure the stock network and the exported one in turn. Never fails: latency is noisy."""
    values: dict[str, Any] = {"num_pairs": num_pairs, "num_threads": torch.get_num_threads()}
    values |= {"machine": f"{platform.machine()} {platform.processor()}".strip(), "device": "cpu"}
    shown = []
    for size in LATENCY_BATCHES:
        batch = images_NCHW[torch.arange(size) % len(images_NCHW)]
        pairs = []
        for i in range(num_pairs + 1):  # who goes first may gain or lose by it, so they take turns
            order = (stock, network) if i % 2 else (network, stock)
            milliseconds = {one: _milliseconds(one, batch) for one in order}
            pairs.append((milliseconds[stock], milliseconds[network]))
        del pairs[0]  # warms up
        theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        values[f"batch_{size}"] = {"stock_ms": theirs, "exported_ms": ours, "ratio": ratio}
        shown.append(f"batch {size}: stock {theirs:.2f} ms, exported {ours:.2f} ms, ratio {ratio:.2f}")
    return Check("latency", f"median of {num_pairs} pairs on the CPU; " + "; ".join(shown), values)


@torch.inference_mode()
def _milliseconds(network: Network, images_BCHW: Tensor) -> float:
    start_s = time.perf_counter()
    network(images_BCHW)
    return 1000 * (time.perf_counter() - start_s)


def equal_weights(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> Check:
    """Compare the tensors that a file holds with the run's, by name and bit."""
    if odd := sorted(found.keys() ^ expected.keys()):
        raise ArtifactError(f"{where} has other tensors than the run: {', '.join(odd[:3])}.")
    if unequal := [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])]:
        raise ArtifactError(f"{where} has other weights than the run: {', '.join(unequal[:3])}.")
    return Check("same weights", f"{len(found)} tensors, equal in every bit", {"num_tensors": len(found)})


def _graph(network: nn.Module) -> tuple[list[str], list[str]]:
    """Return modules (names and kinds) and tensors (names, shapes and types), in order."""
    modules = [f"{name} ({type(one).__module__}.{type(one).__qualname__})" for name, one in network.named_modules()]
    tensors = [f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in network.state_dict().items()]
    return modules, tensors
