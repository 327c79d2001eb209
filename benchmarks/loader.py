"""How fast do JPEG files become normalized batches, on one core? Against timm's loader and torchvision's.

    python benchmarks/loader.py --image-size 224 --images 256 --repeats 5

Every way makes the same: random crop (8 to 100 % of the area, bicubic), flip, a batch of 64, normalized, float32, in
this process with one thread. `timm` is `timm.data.create_loader`, with and without its prefetcher, which normalizes
whole batches (the faster counts). `torchvision` is ImageFolder with transforms v2. `sightwords` is the loader that
`sightwords train` uses, and `cached` the same with `--cache-gb`, from the second epoch on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_dataset, create_loader
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from pairs import in_turn, machine, ratio, table
from photos import write_photos

BATCH = 64
Way = Callable[[], object]


def timm_way(folder: Path, image_size: int, use_prefetcher: bool) -> Way:
    """Return a pass over the training images by timm's loader."""
    dataset = create_dataset("", root=str(folder), split="train", is_training=True)
    loader = create_loader(
        dataset,
        (3, image_size, image_size),
        BATCH,
        is_training=True,
        scale=(0.08, 1.0),
        hflip=0.5,
        color_jitter=0.0,
        interpolation="bicubic",
        num_workers=0,
        persistent_workers=False,
        use_prefetcher=use_prefetcher,
        device=torch.device("cpu"),
    )
    return lambda: consume(images for images, _ in loader)


def torchvision_way(folder: Path, image_size: int) -> Way:
    """Return a pass by ImageFolder and transforms v2, as torchvision's documentation writes them."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(image_size, interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
        ]
    )
    loader = DataLoader(ImageFolder(str(folder / "train"), transform), BATCH, shuffle=True, drop_last=True)
    return lambda: consume(images for images, _ in loader)


def own_way(folder: Path, image_size: int, cache_gb: float) -> Way:
    """Return a pass by the loader of `sightwords train`."""
    from sightwords.images.cache import plan_cache
    from sightwords.images.config import AugmentConfig, ImagesConfig
    from sightwords.images.dataset import open_dataset
    from sightwords.images.loader import TrainOrder, train_loader
    from sightwords.images.transforms import InputSize, TrainTransform
    from sightwords.models import normalize_images

    dataset = open_dataset(ImagesConfig(str(folder)), show=False)
    images = dataset.split("train")
    transform = TrainTransform(AugmentConfig(), InputSize(image_size), seed=0)
    order = TrainOrder(len(images), BATCH, seed=0)
    shorter = int(1.5 * image_size)
    cache = plan_cache(str(folder), cache_gb, shorter, "bicubic") if cache_gb else None

    def epoch() -> None:
        loader = train_loader(images, len(dataset.class_ids), transform, order, 0, order.steps_per_epoch, cache=cache)
        consume(normalize_images(batch.images, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD) for batch in loader)

    return epoch


def consume(batches: Iterable[torch.Tensor]) -> None:
    """Take every batch."""
    for images in batches:
        assert images.dtype == torch.float32


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Print the table; return images per second by way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image-size", type=int, nargs="+", default=[224])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, nargs=2, default=(500, 375), help="width and height of the files")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["SIGHTWORDS_CACHE"] = f"{temporary}/cache"
        folder = write_photos(Path(temporary) / "photos", options.images, tuple(options.size))
        print(machine())
        for image_size in options.image_size:
            found = measure(folder, image_size, options)
    return found


def measure(folder: Path, image_size: int, options: argparse.Namespace) -> dict[str, float]:
    """Print the table of one input size."""
    ways = {
        "timm": timm_way(folder, image_size, use_prefetcher=False),
        "timm, prefetcher": timm_way(folder, image_size, use_prefetcher=True),
        "torchvision": torchvision_way(folder, image_size),
        "sightwords": own_way(folder, image_size, 0.0),
        "sightwords, cached": own_way(folder, image_size, 4.0),
    }
    timings = in_turn(ways, options.repeats)
    num_images = options.images // BATCH * BATCH
    rates = {name: num_images / sorted(timing.wall_s)[options.repeats // 2] for name, timing in timings.items()}
    timm = min(("timm", "timm, prefetcher"), key=lambda name: sorted(timings[name].wall_s)[options.repeats // 2])
    rows = [
        (
            name,
            f"{rates[name]:.0f}",
            ratio(timings[timm].wall_s, timing.wall_s),
            ratio(timings["torchvision"].wall_s, timing.wall_s),
        )
        for name, timing in timings.items()
    ]
    width, height = options.size
    print(f"\nJPEG files of {width} x {height} to batches of {BATCH} at {image_size} px, {options.repeats} rounds\n")
    print(table(("way", "images/s", f"times {timm}", "times torchvision"), rows))
    return rates


if __name__ == "__main__":
    main()
