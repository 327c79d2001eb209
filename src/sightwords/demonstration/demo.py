"""`sightwords demo`: the whole pipeline, offline, on drawn birds, by the very stages that a user runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

import sightwords
from sightwords.demonstration.config import DemoConfig
from sightwords.demonstration.dataset import write_birds
from sightwords.demonstration.sheet import write_sheet
from sightwords.demonstration.species import SPECIES
from sightwords.descriptions.store import DescriptionSet
from sightwords.descriptions.table import export_rows
from sightwords.images.config import AugmentConfig
from sightwords.progress import Progress, duration, stopwatch

IMAGE_SIZE = 64  # what the networks see; the birds are drawn at 96
PROMPT = "short"  # the parts that tell species apart; `plain` adds the scene, which drowns them in one vector


@dataclass(frozen=True)
class Network:
    """A network of the demo and the recipe that suits it."""

    title: str
    model: str
    model_kwargs: dict[str, int | float | bool | str]
    lr: float


NETWORKS = (
    Network("ResNet-10-T (convolutional)", "timm:resnet10t", {}, 2e-3),
    Network("ViT, depth 4 (transformer)", "timm:vit_tiny_patch16_224", {"depth": 4, "patch_size": 8}, 1e-3),
)


@dataclass(frozen=True)
class Comparison:
    """One network's accuracies on the validation images.

    Attributes:
        title: the network.
        baseline: top-1 without text.
        aligned: top-1 with text.
        interval: half width of the 95% interval of the difference, over images.
        baseline_s: seconds of training without text.
        aligned_s: seconds of training with text.
    """

    title: str
    baseline: float
    aligned: float
    interval: float
    baseline_s: float
    aligned_s: float


@dataclass(frozen=True)
class DemoResult:
    """What the demo found and where it is.

    Attributes:
        out: folder of everything.
        sheet: picture of images and their descriptions.
        comparisons: one for each network.
        num_train: training images.
        num_val: validation images.
        num_species: classes.
        seconds: duration of the whole.
    """

    out: Path
    sheet: Path
    comparisons: list[Comparison]
    num_train: int
    num_val: int
    num_species: int
    seconds: float

    def summary(self) -> str:
        """Return the table, and what it does and does not show."""
        rows = [f"{'validation top-1':<40}{'baseline':>10}{'aligned':>10}{'gain, points':>20}{'training':>22}"]
        for row in self.comparisons:
            gain = f"{100 * (row.aligned - row.baseline):+.1f} ± {100 * row.interval:.1f}"
            times = f"{row.baseline_s:.0f} s and {row.aligned_s:.0f} s"
            rows.append(f"{row.title:<40}{row.baseline:>10.1%}{row.aligned:>10.1%}{gain:>20}{times:>22}")
        notes = [
            f"{self.num_species} species, {self.num_train} training and {self.num_val} validation images, one seed;",
            "± is the 95% interval over validation images. This shows that the pipeline works, and proves no more.",
            "The descriptions are the drawing's own record of what it drew: no language model was asked.",
        ]
        places = [f"{name:<14}{path}" for name, path in self._places()]
        return "\n".join(["", *rows, "", *notes, "", *places, f"Took {duration(self.seconds)}."])

    def _places(self) -> list[tuple[str, Path]]:
        return [
            ("Images", self.out / "images"),
            ("Descriptions", self.out / "descriptions.db"),
            ("Text vectors", self.out / "embeddings"),
            ("Runs", self.out / "runs"),
            ("Contact sheet", self.sheet),
        ]

    @property
    def next_command(self) -> str:
        """What to run next: the same on one's own images."""
        return "sightwords describe YOUR_IMAGES --out descriptions.db"


def demo(config: DemoConfig) -> DemoResult:
    """Draw birds, describe, embed, train with and without text, evaluate.

    Raises:
        MissingExtraError: the text encoder of the demo is not installed.
    """
    out, images = config.out, str(config.out / "images")
    with stopwatch() as seconds:
        _draw(config, out / "images")
        described = sightwords.describe(
            sightwords.DescribeConfig(images, describer="demo", prompt=PROMPT, out=out / "descriptions.db")
        )
        print(described.summary())
        print("The demo's describer is the drawing's own record of each picture.")
        embedded = sightwords.embed(
            sightwords.EmbedConfig(out / "descriptions.db", encoder="builtin:minilm", out=out / "embeddings")
        )
        print(embedded.summary())
        sheet = _sheet(out)
        comparisons = [_compare(config, network, images) for network in NETWORKS]
    counts = [len(SPECIES) * number for number in (config.num_train, config.num_val)]
    return DemoResult(out, sheet, comparisons, counts[0], counts[1], len(SPECIES), seconds[0])


def _draw(config: DemoConfig, folder: Path) -> None:
    total = len(SPECIES) * (config.num_train + config.num_val)
    with Progress("Drawing paper birds", total, "images") as progress:
        write_birds(folder, config.num_train, config.num_val, seed=config.seed, progress=progress.advance)


def _sheet(out: Path) -> Path:
    """Write the contact sheet: one image of each species."""
    with DescriptionSet(out / "descriptions.db") as descriptions:
        rows = sorted(export_rows(descriptions, "ok"), key=lambda row: row["name"])
    first = {row["class_name"]: row for row in reversed(rows)}
    entries = [(out / "images" / row["name"], name.title(), row["text"]) for name, row in sorted(first.items())]
    path = out / "contact_sheet.png"
    write_sheet(path, entries, "Paper birds, and what the drawing's record says about each")
    return path


def _compare(config: DemoConfig, network: Network, images: str) -> Comparison:
    """Train a network without and with text, evaluate both on the same images."""
    correct: list[list[bool]] = []
    accuracies: list[float] = []
    times: list[float] = []
    for arm in ("baseline", "aligned"):
        folder = config.out / "runs" / f"{network.model.partition(':')[2]}-{arm}"
        with stopwatch() as seconds:
            trained = sightwords.train(_train_config(config, network, images, folder, arm == "aligned"))
        print(trained.summary())
        result = sightwords.evaluate(sightwords.EvaluateConfig(folder, images, workers=config.workers))
        correct.append(pq.read_table(result.out / "predictions.parquet")["correct"].to_pylist())
        accuracies.append(result.metrics["top1"])
        times.append(seconds[0])
    differences = [int(b) - int(a) for a, b in zip(*correct, strict=True)]
    interval = _half_width(differences)
    return Comparison(network.title, accuracies[0], accuracies[1], interval, times[0], times[1])


def _train_config(
    config: DemoConfig, network: Network, images: str, folder: Path, aligned: bool
) -> sightwords.TrainConfig:
    return sightwords.TrainConfig(
        images,
        out=folder,
        embeddings=[config.out / "embeddings"] if aligned else [],
        model=network.model,
        model_kwargs=network.model_kwargs,
        image_size=IMAGE_SIZE,
        epochs=config.epochs,
        batch_size=min(64, len(SPECIES) * config.num_train),
        lr=network.lr,
        warmup_epochs=min(3, config.epochs / 4),
        augment=AugmentConfig(crop_scale=0.75),
        eval_every=config.epochs,
        seed=config.seed,
        workers=config.workers,
        resume=True,
    )


def _half_width(differences: list[int]) -> float:
    """Return half the width of the 95% interval of the mean of paired differences (normal approximation)."""
    count = len(differences)
    mean = sum(differences) / count
    variance = sum((value - mean) ** 2 for value in differences) / max(1, count - 1)
    return 1.96 * math.sqrt(variance / count)
