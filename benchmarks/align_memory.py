"""How much memory an objective over pairs takes with a large batch, forward and backward, on the processor.

    python benchmarks/align_memory.py --rows 16384 --dimension 256 --losses clip sigmoid relational

Each line is a process of its own. Peak memory is the largest resident set, less what the process held once its inputs
lay ready; `matrices` says how many float32 matrices of rows x rows that is. `plain` is the same loss as clip, written
as it is found everywhere: both matrices of similarities whole. Seconds are of one step, inputs left out, in one run.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pairs import processes
from sightwords.align import OBJECTIVES, AlignmentLoss

NUM_CLASSES = 1000
PLAIN = "plain"


def plain_clip(image: Tensor, text: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the symmetric contrastive loss from whole matrices."""
    image, text = F.normalize(image, dim=1), F.normalize(text, dim=1)
    own = torch.arange(len(image))
    to_text, to_image = image @ text.T / temperature, text @ image.T / temperature
    return (F.cross_entropy(to_text, own) + F.cross_entropy(to_image, own)) / 2


def open_loss(name: str, dimension: int, label: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function of images and texts that is measured."""
    if name == PLAIN:
        return plain_clip
    means = torch.randn(NUM_CLASSES, dimension) if OBJECTIVES[name].needs_class_text else None
    module = AlignmentLoss(name, class_text_KD=means)
    return lambda image, text: module(image, text, label=label)


def peak_kib() -> int:
    """Return the largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(name: str, rows: int, dimension: int) -> dict[str, float]:
    """Return the memory and the time of one forward and backward pass in this process."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(rows, dimension, generator=generator).requires_grad_()
    text = torch.rand(rows, dimension, generator=generator)
    label = torch.randint(NUM_CLASSES, (rows,), generator=generator)
    # libraries take memory of their own on their first use: matrix products, and checkpoint, which imports a compiler
    open_loss(name, dimension, label[:64])(image[:64], text[:64]).backward()
    checkpoint(torch.square, image[:1], use_reentrant=False).sum().backward()
    image.grad = None
    loss, before_kib, start_s = open_loss(name, dimension, label), peak_kib(), time.perf_counter()
    value = loss(image, text)
    value.backward()
    seconds = time.perf_counter() - start_s
    return {"mib": (peak_kib() - before_kib) / 1024, "seconds": seconds, "loss": value.item()}


def main() -> None:
    """Measure each objective in a fresh process and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--losses", nargs="+", default=["clip"], choices=[PLAIN, *OBJECTIVES])
    arguments = parser.parse_args()
    matrix_mib = arguments.rows**2 * 4 / 2**20
    print(f"{arguments.rows} rows of {arguments.dimension}, float32; one matrix of pairs: {matrix_mib:.0f} MiB")
    print(f"{'objective':16}{'peak MiB':>10}{'matrices':>10}{'seconds':>9}{'loss':>12}")
    with processes() as own_process:
        for name in arguments.losses:
            found = own_process(measure, name, arguments.rows, arguments.dimension)
            figures = (
                f"{found['mib']:10.0f}{found['mib'] / matrix_mib:10.2f}{found['seconds']:9.1f}{found['loss']:12.6f}"
            )
            print(f"{name:16}{figures}", flush=True)


if __name__ == "__main__":
    main()
