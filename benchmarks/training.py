"""How many images a second does a training see, from JPEG files on? Against timm's loop and torchvision's.

    python benchmarks/training.py --model resnet10t --image-size 64 --images 256 --repeats 3

The same network, input size, batch, augmentation (random crop, bicubic, flip), AdamW, float32, loader processes and
threads in all. `timm` is what timm's train.py does in a step (its loader with prefetcher, its optimizer and schedule,
the loss read every 50 steps), `torchvision` what its reference does (ImageFolder, transforms v2, accuracies and the
loss of every step). Both get channels-last like ours. The second epoch counts; `cached` is ours with
`--cache-gb`. `compute` is the bare step on one batch that lies ready: the share of the loader follows from it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import AverageMeter, accuracy
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import sightwords
from pairs import Timing, machine, ratio, table
from photos import write_photos

Batches = Iterable[tuple[Tensor, Tensor]]


def timm_batches(folder: Path, options: argparse.Namespace) -> Batches:
    """Return timm's training loader."""
    dataset = create_dataset("", root=str(folder), split="train", is_training=True)
    loader: Batches = create_loader(
        dataset,
        (3, options.image_size, options.image_size),
        options.batch_size,
        is_training=True,
        scale=(0.08, 1.0),
        hflip=0.5,
        color_jitter=0.0,
        interpolation="bicubic",
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        device=torch.device("cpu"),
    )
    return loader


def torchvision_batches(folder: Path, options: argparse.Namespace) -> Batches:
    """Return the loader of torchvision's reference training."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(options.image_size, interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
        ]
    )
    images = ImageFolder(str(folder / "train"), transform)
    return DataLoader(
        images,
        options.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )


def network_of(options: argparse.Namespace) -> nn.Module:
    """Return the network in training mode."""
    network: nn.Module = timm.create_model(options.model, num_classes=8)
    return network.train().to(memory_format=torch.channels_last)


def peer(batches: Batches, options: argparse.Namespace, reads_every: int, with_accuracy: bool) -> Callable[[], float]:
    """Return one epoch of a peer's loop, which returns images per second."""
    network = network_of(options)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=1e-3, weight_decay=0.05)
    schedule = CosineLRScheduler(optimizer, t_initial=1000)

    def epoch() -> float:
        losses, start_s, count = AverageMeter(), time.perf_counter(), 0
        for step, (images, labels) in enumerate(batches):
            output = network(images.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(output, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step_update(step)
            if step % reads_every == 0:
                losses.update(loss.item(), len(images))
            if with_accuracy:
                accuracy(output, labels, topk=(1, 5))
            count += len(images)
        return count / (time.perf_counter() - start_s)

    return epoch


def own(folder: Path, options: argparse.Namespace, cache_gb: float) -> Callable[[], float]:
    """Return a training of ours of two epochs, which returns images per second of the second."""

    def train() -> float:
        with tempfile.TemporaryDirectory() as out:
            config = sightwords.TrainConfig(
                str(folder),
                model=options.model,
                image_size=options.image_size,
                batch_size=options.batch_size,
                epochs=2,
                workers=options.workers,
                eval_every=2,
                channels_last=True,
                cache_gb=cache_gb,
                device="cpu",
                out=Path(out) / "run",
            )
            sightwords.train(config)
            lines = (Path(out) / "run" / "metrics.jsonl").read_text().splitlines()
        return float(json.loads(lines[-1])["images_per_second"])

    return train


def compute(options: argparse.Namespace) -> Callable[[], float]:
    """Return bare steps on one batch that lies ready, which return images per second."""
    images = torch.randn(options.batch_size, 3, options.image_size, options.image_size)
    labels = torch.zeros(options.batch_size, dtype=torch.long)
    return peer([(images, labels)] * 4, options, reads_every=50, with_accuracy=False)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Print the table; return images per second by way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="resnet10t")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, nargs=2, default=(500, 375), help="width and height of the files")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["SIGHTWORDS_CACHE"] = f"{temporary}/cache"
        folder = write_photos(Path(temporary) / "photos", options.images, tuple(options.size))
        timings = measure(folder, options)
    return show(timings, options)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Timing]:
    """Return seconds an image of every way, the ways in turn."""
    ways = {
        "timm": peer(timm_batches(folder, options), options, reads_every=50, with_accuracy=False),
        "torchvision": peer(torchvision_batches(folder, options), options, reads_every=1, with_accuracy=True),
        "sightwords": own(folder, options, 0.0),
        "sightwords, cached": own(folder, options, 4.0),
        "compute": compute(options),
    }
    timings = {name: Timing([], []) for name in ways}
    for turn in range(options.repeats + 1):
        for name in list(ways) if turn % 2 else reversed(list(ways)):
            rate = ways[name]()
            if turn:  # the first of each warms up
                timings[name].wall_s.append(1 / rate)
    return timings


def show(timings: dict[str, Timing], options: argparse.Namespace) -> dict[str, float]:
    """Print the table; return images per second by way."""
    rates = {name: 1 / sorted(timing.wall_s)[options.repeats // 2] for name, timing in timings.items()}
    rows = [
        (
            name,
            f"{rates[name]:.0f}",
            *(ratio(timings[other].wall_s, timing.wall_s) for other in ("timm", "torchvision")),
        )
        for name, timing in timings.items()
    ]
    width, height = options.size
    print(machine())
    print(
        f"{options.model} at {options.image_size} px from JPEG files of {width} x {height}, batch {options.batch_size}"
    )
    print(f"{options.threads} threads, {options.workers} loader processes, {options.repeats} rounds\n")
    print(table(("way", "images/s", "times timm", "times torchvision"), rows))
    return rates


if __name__ == "__main__":
    main()
