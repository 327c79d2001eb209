"""`sightwords demo`: the whole pipeline, offline, on photographs of garments, by the commands that a user runs.

`garments.tar` beside this file holds the photographs and what a multimodal model wrote about them; its README.md says
whose they are.
"""

from __future__ import annotations

import csv
import tarfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont
from scipy import stats

import sightwords
from sightwords.demonstration.config import DemoConfig
from sightwords.files import atomic_path
from sightwords.progress import duration, stopwatch

GARMENTS = Path(__file__).with_name("garments.tar")
IMAGE_SIZE = 64  # pixels that the network sees; the photographs have 128
THUMBNAIL, TEXT_WIDTH, MARGIN, COLUMNS = 144, 300, 16, 3  # pixels, and columns of the contact sheet
INK, FAINT, PAPER = (32, 32, 36), (110, 110, 118), (250, 248, 244)


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
        sheet: contact sheet of photographs with their descriptions.
        comparisons: one for each condition.
        num_val: validation images.
        seconds: duration of the whole.
    """

    out: Path
    sheet: Path
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
            "Contact sheet": self.sheet,
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
        sheet = out / "contact_sheet.png"
        write_sheet(sheet, _one_of_each_class(images), "Photographs, and what a model wrote about them")
        comparisons = [_compare(config, name, condition) for name, condition in CONDITIONS.items()]
    num_val = sum(1 for _ in (images / "val").rglob("*.jpg"))
    return DemoResult(out, sheet, comparisons, num_val, seconds[0])


def _unpack(folder: Path) -> None:
    """Unpack the photographs; README.md, which comes first in the archive, is moved into place last."""
    if (folder / "README.md").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(GARMENTS) as archive:
        archive.extractall(folder, [one for one in archive if one.name != "README.md"], filter="data")
        archive.extract("README.md", folder, filter="data")


def _one_of_each_class(images: Path) -> list[tuple[Path, str, str]]:
    """Return (file, class, description) of the first described photograph of each class."""
    with (images / "descriptions.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted((row["image"], row["text"]) for row in csv.DictReader(file))
    first = {Path(name).parent.name: (images / name, text) for name, text in reversed(rows)}
    return [(path, label, text) for label, (path, text) in sorted(first.items())]


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


def write_sheet(path: Path, entries: list[tuple[Path, str, str]], title: str) -> None:
    """Write a PNG that shows each image beside its heading and its text.

    Args:
        path: where.
        entries: (image file, heading, text) of each.
        title: line at the top.
    """
    cell_width, cell_height = THUMBNAIL + TEXT_WIDTH + 2 * MARGIN, THUMBNAIL + MARGIN
    num_rows = -(-len(entries) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * cell_width + MARGIN, num_rows * cell_height + 4 * MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, ImageFont.load_default(20))
    for i, (file, heading, text) in enumerate(entries):
        row, column = divmod(i, COLUMNS)
        left, top = MARGIN + column * cell_width, int(3.5 * MARGIN) + row * cell_height
        with Image.open(file) as image:
            thumbnail = image.convert("RGB")
            thumbnail.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
            sheet.paste(thumbnail, (left, top))
        left += THUMBNAIL + MARGIN
        draw.text((left, top), heading, INK, ImageFont.load_default(15))
        lines = textwrap.wrap(text, 46)[:8]
        draw.multiline_text((left, top + 22), "\n".join(lines), FAINT, ImageFont.load_default(12), spacing=3)
    with atomic_path(path) as temporary:
        sheet.save(temporary, "PNG")
