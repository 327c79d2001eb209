"""How long does a user wait before anything happens?

    python benchmarks/start.py [--repeats 7] [--parts help import step]

Each figure is of a whole process, from its start to its end; for the first training step, to the moment at which the
checkpoint after it lies in the run's folder (--checkpoint-every 1), so that writing it counts too.

- help: `sightwords --help`, wanted under 0.3 s
- import: `import sightwords`, wanted under 0.1 s
- step: `sightwords train` with resnet10t on 16 drawn pictures of 32 pixels, on the CPU, without loader processes

The peer of help and step is `train.py --help` of timm. That script is not in timm's package, so it is stood for by one
that imports what it must import before it can print its help (torch, torchvision.utils, yaml, timm, and of timm data,
layers, loss, models, optim, scheduler, utils) and parses `--help`; the script's own few hundred options are left out.
The peer of import is `import timm`. `torch alone` and `torch, timm` say what of a training's start is not ours: no
process that trains a network of timm can be faster than that.

Ours and its peer take turns; the ratio is the median of the pairs' ratios, ours / peer. Processor time is that of the
process; it says more than the clock where others use the machine too. One round before the first warms up, and
bytecode is written, as an installer does.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from PIL import Image

PEER = """
import argparse
import torch, torchvision.utils, yaml, timm
import timm.data, timm.layers, timm.loss, timm.models, timm.optim, timm.scheduler, timm.utils
argparse.ArgumentParser(description="stands for timm's train.py").parse_args()
"""
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
OPTIONS = "--model resnet10t --image-size 32 --batch-size 4 --epochs 1 --workers 0 --device cpu --checkpoint-every 1"
POLL_S = 0.005


class Spent(NamedTuple):
    """Seconds of the clock and of the processor."""

    wall: float
    work: float


def python(*arguments: str, until: Callable[[], bool] | None = None) -> Spent:
    """Return what a Python process takes to its end, or until something holds, upon which it is ended."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while until is not None and process.poll() is None and not until():
        time.sleep(POLL_S)
    seconds = time.perf_counter() - start
    if until is not None and process.returncode is None:
        process.kill()
    _, status, usage = os.wait4(process.pid, 0) if process.returncode is None else (0, process.returncode, None)
    seconds = seconds if until is not None else time.perf_counter() - start
    assert until is not None or status == 0, process.stderr.read().decode() if process.stderr else ""
    assert usage is not None, "the process ended before its first step"
    return Spent(seconds, usage.ru_utime + usage.ru_stime)


def draw_images(folder: Path) -> None:
    """Write two classes of eight training and four validation pictures."""
    noise = random.Random(0)
    for split, count in (("train", 8), ("val", 4)):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                picture = Image.frombytes("RGB", (32, 32), noise.randbytes(32 * 32 * 3))
                picture.save(folder / split / name / f"{number}.png")


def first_step(images: Path, out: Path) -> Spent:
    """Train to the first checkpoint, which is written after the first step."""
    shutil.rmtree(out, ignore_errors=True)
    command = ["-m", "sightwords", "train", str(images), "--out", str(out), *OPTIONS.split()]
    return python(*command, until=lambda: any(out.glob("checkpoints/*")))


def code(text: str) -> Callable[[], Spent]:
    """Return an arm that runs some code."""
    return lambda: python("-c", text)


def measure(arms: dict[str, Callable[[], Spent]], repeats: int, warm_up: int) -> dict[str, list[Spent]]:
    """Return what each arm took in each repeat; they take turns, and the first `warm_up` rounds are not counted."""
    rounds = [{name: arm() for name, arm in arms.items()} for _ in range(warm_up + repeats)][warm_up:]
    return {name: [found[name] for found in rounds] for name in arms}


def show(title: str, spent: dict[str, list[Spent]], wanted: str) -> None:
    """Print medians, and each arm's share of the peer, which is the second arm."""
    ours, peer = list(spent)[:2]
    print(f"{title} ({wanted}; peer: {peer})")
    for name, found in spent.items():
        wall, work = (median(one[i] for one in found) for i in range(2))
        by_wall, by_work = (median(a[i] / b[i] for a, b in zip(found, spent[peer], strict=True)) for i in range(2))
        print(f"  {name:24}{wall:8.3f} s{work:8.3f} s processor   / peer: {by_wall:.3f}, {by_work:.3f} processor")
    least = min(one.wall for one in spent[ours])
    print(f"  fastest of ours: {least:.3f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--warm-up", type=int, default=1, help="rounds before, for the disk's cache")
    parser.add_argument("--parts", nargs="+", default=["help", "import", "step"], choices=["help", "import", "step"])
    options = parser.parse_args(arguments)

    def peer() -> Spent:
        return python("-c", PEER, "--help")

    with tempfile.TemporaryDirectory() as scratch:
        images, out = Path(scratch) / "images", Path(scratch) / "run"
        draw_images(images)
        parts: dict[str, tuple[str, dict[str, Callable[[], Spent]], str]] = {
            "help": ("sightwords --help", {"ours": lambda: python("-m", "sightwords", "--help"), "timm help": peer},
                     "wanted: 0.3 s"),
            "import": ("import sightwords", {"ours": code("import sightwords"), "import timm": code("import timm")},
                       "wanted: 0.1 s"),
            "step": ("to the first training step", {"ours": lambda: first_step(images, out), "timm help": peer,
                     "torch, timm": code("import torch, timm"), "torch alone": code("import torch")},
                     "wanted: half of the peer"),
        }  # fmt: skip
        for part in options.parts:
            title, arms, wanted = parts[part]
            show(title, measure(arms, options.repeats, options.warm_up), wanted)


if __name__ == "__main__":
    main()
