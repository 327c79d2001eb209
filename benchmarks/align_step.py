"""What does alignment cost a training step? Against our own step of the baseline.

    python benchmarks/align_step.py --steps 12

The steps are those of `sightwords train`, objective and projector included, on batches that lie ready; text vectors
have 384 numbers (`builtin:minilm`). Steps of the three ways come in turn, and each way's step is compared with the
baseline's of the same turn: by the clock and by processor time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import sightwords
from pairs import machine, table
from photos import write_photos
from sightwords.training.data import load_data, training_batches
from sightwords.training.distributed import process_group
from sightwords.training.run import build_loop

CASES = [("resnet50", 224, 8), ("vit_small_patch16_224", 224, 8), ("resnet18", 64, 64)]
WAYS = {
    "baseline": None,
    "aligned": sightwords.AlignConfig(),
    "aligned, balanced": sightwords.AlignConfig(weighting="gradient_balanced", weight=0.5, targets="centered"),
}


def write_text(folder: Path, photos: Path) -> Path:
    """Describe the photos by their class and number, and embed that."""
    table_file = folder / "descriptions.csv"
    with table_file.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "text"])
        for path in sorted((photos / "train").rglob("*.jpg")):
            writer.writerow([path.relative_to(photos), f"photograph {path.stem} of {path.parent.name}"])
    database = folder / "descriptions.db"
    sightwords.import_descriptions(sightwords.ImportConfig(table_file, images=str(photos), out=database))
    sightwords.embed(sightwords.EmbedConfig(database, encoder="builtin:minilm", out=folder / "embeddings"))
    return folder / "embeddings"


def step_of(config: sightwords.TrainConfig) -> Callable[[], None]:
    """Return one optimizer step of a training, on a batch that lies ready."""
    with process_group(config.device) as group:
        data = load_data(config, group)
        loop = build_loop(config, data, sightwords.RunFolder(config.out), group)
        batch = next(training_batches(config, data, loop.order, loop.state.task.backbone.input_spec))

    def step() -> None:
        loop.step(iter([batch]))
        if group.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def measure(steps: dict[str, Callable[[], None]], num_steps: int) -> dict[str, tuple[list[float], list[float]]]:
    """Return wall and processor seconds of each way's steps, the ways in turn."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in steps}
    for turn in range(num_steps + 2):
        for name in list(steps) if turn % 2 else reversed(list(steps)):
            wall, cpu = time.perf_counter(), time.process_time()
            steps[name]()
            if turn >= 2:
                found[name][0].append(time.perf_counter() - wall)
                found[name][1].append(time.process_time() - cpu)
    return found


def cost(own: Sequence[float], base: Sequence[float]) -> str:
    """Return what a way's step costs beyond the baseline's of the same turn: the median over turns."""
    return f"{100 * (statistics.median(a / b for a, b in zip(own, base, strict=True)) - 1):+.1f}%"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--model", nargs="+", help="only these of resnet50, vit_small_patch16_224, resnet18")
    parser.add_argument("--batch-size", type=int, help="instead of 8, 8 and 64")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["SIGHTWORDS_CACHE"] = f"{temporary}/cache"
        photos = write_photos(Path(temporary) / "photos", max(64, options.batch_size or 0), (160, 120))
        embeddings = write_text(Path(temporary), photos)
        for model, image_size, batch_size in CASES:
            if options.model and model not in options.model:
                continue
            shape = (options.image_size or image_size, options.batch_size or batch_size)
            rows += case(model, *shape, photos, embeddings, options)
    print(machine())
    header = ("network", "px", "batch", "way", "ms a step", "cost by the clock", "by processor time")
    print(table(header, rows))


def case(
    model: str, image_size: int, batch_size: int, photos: Path, embeddings: Path, options: argparse.Namespace
) -> list[tuple[object, ...]]:
    """Return the rows of one network."""
    steps = {}
    for name, align in WAYS.items():
        config = sightwords.TrainConfig(
            str(photos),
            embeddings=[embeddings] if align else [],
            align=align or sightwords.AlignConfig(),
            model=model,
            image_size=image_size,
            batch_size=batch_size,
            device=options.device,
            precision=options.precision,
            channels_last=model.startswith("resnet"),
            workers=0,
            out=photos.parent / f"{model}-{name}",
        )
        steps[name] = step_of(config)
    found = measure(steps, options.steps)
    base = found["baseline"]
    return [
        (
            model,
            image_size,
            batch_size,
            name,
            f"{1000 * statistics.median(wall):.0f}",
            cost(wall, base[0]),
            cost(cpu, base[1]),
        )
        for name, (wall, cpu) in found.items()
    ]


if __name__ == "__main__":
    main()
