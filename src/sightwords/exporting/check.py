"""The checks of an exported file; each returns what it found in words, and fails with an error."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sightwords.errors import ArtifactError

Answer = Callable[[Tensor], Tensor]
"""From normalized images (B, 3, S, S) to logits (B, K)."""

LATENCY_BATCHES = (1, 8)


@dataclass(frozen=True)
class Check:
    """A check that was passed.

    Attributes:
        name: of the check.
        text: what was found, a sentence.
        values: the same as JSON values.
    """

    name: str
    text: str
    values: dict[str, Any]


def same_graph(network: nn.Module, stock: nn.Module) -> Check:
    """Compare modules (names and kinds, in order) and tensors (names, shapes and types) with the stock network's.

    Raises:
        ArtifactError: anything differs.
    """
    for what, describe in (("module", _modules), ("tensor", _tensors)):
        mine, theirs = describe(network), describe(stock)
        if mine != theirs:
            odd = next(iter(set(mine) ^ set(theirs)), "their order")
            raise ArtifactError(f"The network is not the stock one: a {what} differs, {odd}.")
    num_modules, num_parameters = len(_modules(stock)), sum(p.numel() for p in stock.parameters())
    text = f"{num_modules} modules and {num_parameters:,} parameters, names, kinds and shapes as in the stock network"
    return Check("same graph", text, {"num_modules": num_modules, "num_parameters": num_parameters})


def same_flops(counted: int | None, stock: nn.Module, image_size: int) -> Check:
    """Compare the operations for one image with the stock network's.

    Args:
        counted: multiplications and additions of the exported network; None where they cannot be told.
        stock: the stock network.
        image_size: side of the input in pixels.

    Raises:
        ArtifactError: they differ.
    """
    expected = count_flops(stock, image_size)
    if counted is not None and counted != expected:
        raise ArtifactError(f"The exported network takes {counted:,} FLOPs for an image, the stock one {expected:,}.")
    told = "as the stock network" if counted is not None else "of the stock network; the file's cannot be counted"
    return Check("same FLOPs", f"{expected:,} for an image, {told}", {"flops": counted, "stock_flops": expected})


@torch.inference_mode()
def count_flops(network: Answer, image_size: int) -> int:
    """Return the multiplications and additions for one image, as torch counts them."""
    # torch does not count its fused attention on the CPU; written out, it does
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, image_size, image_size))
    return int(counter.get_total_flops())


@torch.inference_mode()
def same_outputs(answer: Answer, trained: nn.Module, images_NCHW: Tensor, tolerance: float) -> Check:
    """Compare outputs for batches of several sizes with the trained network's.

    Args:
        answer: the exported network.
        trained: the trained network, in eval mode.
        images_NCHW: normalized images.
        tolerance: largest difference that is allowed, as a part of the largest output (at least 1); 0: every bit.

    Raises:
        ArtifactError: a shape differs, or an output by more than is allowed.
    """
    sizes = sorted({min(size, len(images_NCHW)) for size in (1, 2, 5, len(images_NCHW))})
    largest, is_equal = 0.0, True
    for size in sizes:
        expected, got = trained(images_NCHW[:size]), answer(images_NCHW[:size])
        if expected.shape != got.shape:
            raise ArtifactError(f"{size} images give outputs of shape {tuple(got.shape)}, not {tuple(expected.shape)}.")
        difference = (expected - got).abs().max().item()
        allowed = tolerance * max(1.0, expected.abs().max().item())
        if not difference <= allowed or (tolerance == 0 and not torch.equal(expected, got)):
            raise ArtifactError(f"The exported network answers otherwise: largest difference {difference:g}.")
        largest, is_equal = max(largest, difference), is_equal and torch.equal(expected, got)
    bound = "every bit" if tolerance == 0 else f"at most {tolerance:g} of the largest output"
    found = "equal in every bit" if is_equal else f"largest difference {largest:.2g}, allowed is {bound}"
    batches = ", ".join(map(str, sizes))
    values = {"largest_difference": largest, "tolerance": tolerance, "bit_equal": is_equal, "batch_sizes": sizes}
    return Check("same outputs", f"{found}; batches of {batches}", values)


def latency(answer: Answer, stock: nn.Module, images_NCHW: Tensor, num_pairs: int) -> Check:
    """Measure the stock network and the exported one in turn; this fails never, since machines are noisy."""
    values: dict[str, Any] = {"num_pairs": num_pairs, "num_threads": torch.get_num_threads()}
    values |= {"machine": f"{platform.machine()} {platform.processor()}".strip(), "device": "cpu"}
    shown = []
    for size in LATENCY_BATCHES:
        batch = images_NCHW[torch.arange(size) % len(images_NCHW)]
        pairs = [_pair(answer, stock, batch, bool(i % 2)) for i in range(num_pairs + 1)][1:]  # the first warms up
        ours, ratio = statistics.median(b for _, b in pairs), statistics.median(b / a for a, b in pairs)
        theirs = statistics.median(a for a, _ in pairs)
        values[f"batch_{size}"] = {"stock_ms": theirs, "exported_ms": ours, "ratio": ratio}
        shown.append(f"batch {size}: stock {theirs:.2f} ms, exported {ours:.2f} ms, ratio {ratio:.2f}")
    return Check("latency", f"median of {num_pairs} pairs on the CPU; " + "; ".join(shown), values)


def _pair(answer: Answer, stock: nn.Module, images_BCHW: Tensor, stock_first: bool) -> tuple[float, float]:
    """Return milliseconds of the stock network and of the other; who goes first may gain or lose by it."""
    if stock_first:
        theirs = _milliseconds(stock, images_BCHW)
        return theirs, _milliseconds(answer, images_BCHW)
    ours = _milliseconds(answer, images_BCHW)
    return _milliseconds(stock, images_BCHW), ours


@torch.inference_mode()
def _milliseconds(answer: Answer, images_BCHW: Tensor) -> float:
    start_s = time.perf_counter()
    answer(images_BCHW)
    return 1000 * (time.perf_counter() - start_s)


def _modules(network: nn.Module) -> list[str]:
    return [
        f"{name} ({type(module).__module__}.{type(module).__qualname__})" for name, module in network.named_modules()
    ]


def _tensors(network: nn.Module) -> list[str]:
    return [f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in network.state_dict().items()]


def equal_weights(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> Check:
    """Compare the tensors that a file holds with the run's, by name and bit.

    Raises:
        ArtifactError: one is missing, added or differs.
    """
    if odd := sorted(found.keys() ^ expected.keys()):
        raise ArtifactError(f"{where} has other tensors than the run: {', '.join(odd[:3])}.")
    if unequal := [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])]:
        raise ArtifactError(f"{where} has other weights than the run: {', '.join(unequal[:3])}.")
    return Check("same weights", f"{len(found)} tensors, equal in every bit", {"num_tensors": len(found)})
