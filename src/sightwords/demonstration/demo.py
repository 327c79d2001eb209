"""`sightwords demo`: the whole pipeline, offline, on photographs of garments, by the commands that a user runs.

`garments.tar` beside this file holds the photographs and what a multimodal model wrote about them; its README.md says
whose they are.
"""

from __future__ import annotations

import csv
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from scipy import stats

import sightwords
from sightwords.demonstration.config import DemoConfig
from sightwords.images.decode import thumbnail_uri
from sightwords.images.gallery import Card, write_gallery
from sightwords.images.references import ImageReference
from sightwords.progress import duration, stopwatch

GARMENTS = Path(__file__).with_name("garments.tar")
IMAGE_SIZE = 64  # pixels that the network sees; the photographs have 128


@dataclass(frozen=True)
class Condition:
    """What labels a user has, and what text does about it.

    Attributes:
        title: in words.
        labels: options of both trainings.
        text: further options of the training with text.
    """

    title: str
    labels: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)


CONDITIONS = {
    "all_labels": Condition("all labels"),
    "half_wrong": Condition("half of the labels wrong", {"label_noise": 0.5}, {"label_noise_correction": "auto"}),
    "one_in_ten": Condition("one label in ten", {"label_fraction": 0.1, "pseudo_labels": True}),
}


@dataclass(frozen=True)
class Comparison:
    """One condition's accuracies on the validation images.

    Attributes:
        title: the condition.
        baseline: top-1 without text, 0 to 1.
        aligned: top-1 with text, 0 to 1.
        interval: 95% interval of the difference over images (paired t), each from -1 to 1.
    """

    title: str
    baseline: float
    aligned: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class DemoResult:
    """What the demo found and where it is.

    Attributes:
        out: folder of everything.
        page: HTML file with a photograph of each class and its description.
        comparisons: one for each condition.
        num_val: validation images.
        seconds: duration of the whole.
    """

    out: Path
    page: Path
    comparisons: list[Comparison]
    num_val: int
    seconds: float

    def summary(self) -> str:
        """Return the table, and what it does and does not show."""
        rows = [f"{'validation top-1':<28}{'without text':>14}{'with text':>14}{'gain in points':>24}"]
        for row in self.comparisons:
            low, high = (100 * bound for bound in row.interval)
            gain = f"{100 * (row.aligned - row.baseline):+.1f} [{low:+.1f}, {high:+.1f}]"
            rows.append(f"{row.title:<28}{row.baseline:>14.1%}{row.aligned:>14.1%}{gain:>24}")
        notes = [
            f"One network, one seed, {self.num_val} validation images; the 95% intervals are over images.",
            "The descriptions ship with the demo: a multimodal model wrote them, one for each training image.",
        ]
        places = {
            "Images": self.out / "images",
            "Descriptions": self.out / "descriptions.db",
            "Text vectors": self.out / "embeddings",
            "Runs": self.out / "runs",
            "Page": self.page,
        }
        listed = [f"{name:<14}{path}" for name, path in places.items()]
        return "\n".join(["", *rows, "", *notes, "", *listed, f"Took {duration(self.seconds)}."])

    @property
    def next_command(self) -> str:
        """What to run next: the same on one's own images."""
        return "sightwords describe YOUR_IMAGES --out descriptions.db"


def demo(config: DemoConfig) -> DemoResult:
    """Unpack the photographs, import their descriptions, embed, train without and with text, evaluate.

    Raises:
        MissingExtraError: the text encoder of the demo is not installed.
    """
    out, images = config.out, config.out / "images"
    with stopwatch() as seconds:
        _unpack(images)
        texts, database = images / "descriptions.csv", out / "descriptions.db"
        imported = sightwords.import_descriptions(sightwords.ImportConfig(texts, images=str(images), out=database))
        print(imported.summary())
        embedded = sightwords.embed(sightwords.EmbedConfig(database, encoder="builtin:minilm", out=out / "embeddings"))
        print(embedded.summary())
        page = out / "photographs.html"
        write_gallery(page, "Photographs, and what a model wrote about them", [], _one_of_each_class(images))
        comparisons = [_compare(config, name, condition) for name, condition in CONDITIONS.items()]
    num_val = sum(1 for _ in (images / "val").rglob("*.jpg"))
    return DemoResult(out, page, comparisons, num_val, seconds[0])


def _unpack(folder: Path) -> None:
    """Unpack the photographs; README.md, which comes first in the archive, is moved into place last."""
    if (folder / "README.md").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(GARMENTS) as archive:
        archive.extractall(folder, [one for one in archive if one.name != "README.md"], filter="data")
        archive.extract("README.md", folder, filter="data")


def _one_of_each_class(images: Path) -> list[Card]:
    """Return the first described photograph of each class."""
    with (images / "descriptions.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted((row["image"], row["text"]) for row in csv.DictReader(file))
    first = {Path(name).parent.name: (ImageReference(str(images / name), name), text) for name, text in reversed(rows)}
    return [
        Card(thumbnail_uri(image), "", label, "", text, name=image.name)
        for label, (image, text) in sorted(first.items())
    ]


def _compare(config: DemoConfig, name: str, condition: Condition) -> Comparison:
    """Train one network without and with text, evaluate both on the same images."""
    images, correct, accuracies = str(config.out / "images"), [], []
    for arm, options in (
        ("baseline", condition.labels),
        ("aligned", {**condition.labels, **condition.text, "embeddings": [config.out / "embeddings"]}),
    ):
        run = config.out / "runs" / f"{name}-{arm}"
        print(sightwords.train(_train_config(config, run, options)).summary())
        result = sightwords.evaluate(sightwords.EvaluateConfig(run, images, workers=config.workers))
        correct.append(pq.read_table(result.out / "predictions.parquet")["correct"].to_numpy().astype(float))
        accuracies.append(result.metrics["top1"])
    interval = stats.ttest_rel(correct[1], correct[0]).confidence_interval(0.95)
    return Comparison(condition.title, accuracies[0], accuracies[1], (float(interval.low), float(interval.high)))


def _train_config(config: DemoConfig, run: Path, options: dict[str, Any]) -> sightwords.TrainConfig:
    return sightwords.TrainConfig(
        str(config.out / "images"),
        out=run,
        model=config.model,
        image_size=IMAGE_SIZE,
        epochs=config.epochs,
        batch_size=32,
        lr=2e-3,
        warmup_epochs=min(3, config.epochs / 4),
        augment=sightwords.AugmentConfig(crop_scale=0.5),
        eval_every=config.epochs,
        seed=config.seed,
        workers=config.workers,
        resume=True,
        **options,
    )
