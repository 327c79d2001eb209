"""`sightwords demo`: the whole pipeline, offline, on photographs of garments, by the commands that a user runs.

`garments.tar` beside this file holds the photographs and what a multimodal model wrote about them; its README.md says
whose they are.
"""

from __future__ import annotations

import csv
import tarfile
from dataclasses import dataclass
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
IMAGE_SIZE = 48  # pixels that the network sees; the photographs have 128
PER_CLASS = 2  # photographs on the page
NAMES = {
    "dress": "dress",
    "hat": "hat",
    "longsleeve": "long-sleeved top",
    "outwear": "outerwear (jacket or coat)",
    "pants": "trousers",
    "shirt": "button-up shirt",
    "shoes": "shoes",
    "shorts": "shorts",
    "skirt": "skirt",
    "t-shirt": "T-shirt",
}
"""What the classes are called in words, which is all that the first row of the table knows of them."""


@dataclass(frozen=True)
class Condition:
    """What labels a user has, and what text does about it.

    Attributes:
        title: in words.
        plain: options of the training without text; None where nothing can be trained.
        text: options of the training with text.
    """

    title: str
    plain: dict[str, Any] | None
    text: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One condition's accuracies on the validation images.

    Attributes:
        model: the network.
        title: the condition.
        plain: top-1 without text, 0 to 1; None where nothing can be trained.
        text: top-1 with text, 0 to 1.
        gain: mean difference, from -1 to 1, to the training without text; without labels, to that with all labels.
        interval: 95% interval of the gain over images (paired t).
    """

    model: str
    title: str
    plain: float | None
    text: float
    gain: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class DemoResult:
    """What the demo found and where it is.

    Attributes:
        out: folder of everything.
        page: HTML file with photographs, what the model wrote about each, and what label came of it.
        rows: one for each network and condition.
        labeling: accuracy of the labels that descriptions and class names give, 0 to 1, and what was expected.
        num_val: validation images.
        seconds: duration of the whole.
    """

    out: Path
    page: Path
    rows: list[Row]
    labeling: tuple[float, float]
    num_val: int
    seconds: float

    def summary(self) -> str:
        """Return the table, and what it does and does not show."""
        lines = [f"{'validation top-1':<26}{'without text':>14}{'with text':>12}{'gain in points':>24}"]
        for row in self.rows:
            low, high = (100 * bound for bound in row.interval)
            gain = f"{100 * row.gain:+.1f} [{low:+.1f}, {high:+.1f}]"
            plain = "impossible" if row.plain is None else f"{row.plain:.1%}"
            shown = gain + ("" if row.plain is not None else " *")
            lines.append(f"{row.title:<26}{plain:>14}{row.text:>12.1%}{shown:>24}")
        right, expected = self.labeling
        notes = [
            "* to the network that was trained on all labels, without text",
            f"Descriptions and class names gave labels that are right for {right:.1%}; {expected:.1%} were expected.",
            f"One seed, {self.num_val} validation images; the 95% intervals are over images.",
            "The descriptions ship with the demo: a multimodal model wrote them, one for each training image.",
        ]
        places = {
            "Images": self.out / "images",
            "Descriptions": self.out / "descriptions.db",
            "Text vectors": self.out / "embeddings",
            "Labels": self.out / "labels.csv",
            "Runs": self.out / "runs",
            "Network": self.out / "network.safetensors",
            "Page": self.page,
        }
        listed = [f"{name:<14}{path}" for name, path in places.items()]
        return "\n".join(["", *lines, "", *notes, "", *listed, f"Took {duration(self.seconds)}."])

    @property
    def next_command(self) -> str:
        """What to run next: the same on one's own images."""
        return "sightwords describe YOUR_IMAGES --out descriptions.db"


def demo(config: DemoConfig) -> DemoResult:
    """Unpack the photographs, import their descriptions, embed, label, train without and with text, evaluate, export.

    Raises:
        MissingExtraError: the text encoder of the demo is not installed.
    """
    out, images = config.out, config.out / "images"
    with stopwatch() as seconds:
        _unpack(images)
        print("Describing is skipped: a multimodal model wrote the descriptions before, and they are imported.")
        texts, database, vectors = images / "descriptions.csv", out / "descriptions.db", out / "embeddings"
        imported = sightwords.import_descriptions(sightwords.ImportConfig(texts, images=str(images), out=database))
        print(imported.summary())
        print(sightwords.embed(sightwords.EmbedConfig(database, encoder="builtin:minilm", out=vectors)).summary())
        labeled = sightwords.label(_label_config(config))
        print(labeled.summary())
        page = out / "photographs.html"
        write_gallery(page, "Photographs, what a model wrote about them, and the label that came of it", [],
                      _some_of_each_class(config), [labeled.summary().splitlines()[1]])  # fmt: skip
        rows = [row for model in config.models for row in _rows(config, model)]
        best = _run(config, config.models[0], "all_labels", "text")
        print(sightwords.export(sightwords.ExportConfig(best, out=out / "network.safetensors")).summary())
    num_val = sum(1 for _ in (images / "val").rglob("*.jpg"))
    assert labeled.agreement is not None
    assert labeled.accuracy is not None
    return DemoResult(out, page, rows, (labeled.agreement[0], labeled.accuracy), num_val, seconds[0])


def _unpack(folder: Path) -> None:
    """Unpack the photographs; README.md, which comes first in the archive, is moved into place last."""
    if (folder / "README.md").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(GARMENTS) as archive:
        archive.extractall(folder, [one for one in archive if one.name != "README.md"], filter="data")
        archive.extract("README.md", folder, filter="data")


def _label_config(config: DemoConfig) -> sightwords.LabelConfig:
    names = config.out / "names.csv"
    with names.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "name"), *NAMES.items()])
    return sightwords.LabelConfig(
        str(config.out / "images"),
        embeddings=config.out / "embeddings",
        classes=names,
        ignore_labels=True,
        out=config.out / "labels.csv",
    )


def _some_of_each_class(config: DemoConfig) -> list[Card]:
    """Return the first described photographs of each class, with the label that came of each text."""
    images = config.out / "images"
    with (images / "descriptions.csv").open(newline="", encoding="utf-8") as file:
        texts = {row["image"]: row["text"] for row in csv.DictReader(file)}
    with (config.out / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    cards = []
    for class_id in NAMES:
        for row in [row for row in rows if row["given"] == class_id][:PER_CLASS]:
            image = ImageReference(str(images / row["image"]), row["image"])
            label = f"{row['label_name']}, {float(row['probability']):.0%}"
            wrong = "" if row["label"] == class_id else NAMES[class_id]
            cards.append(Card(thumbnail_uri(image), "", label, wrong, texts[row["image"]]))
    return cards


def _rows(config: DemoConfig, model: str) -> list[Row]:
    """Train a network without and with text in every condition, and evaluate on the same images."""
    correct: dict[tuple[str, str], Any] = {}
    rows = []
    for name, condition in _conditions(config).items():
        for arm, options in (("plain", condition.plain), ("text", condition.text)):
            if options is not None:
                correct[name, arm] = _train(config, model, _run(config, model, name, arm), options)
        first = correct.get((name, "plain"), correct["all_labels", "plain"])
        interval = stats.ttest_rel(correct[name, "text"], first).confidence_interval(0.95)
        rows.append(
            Row(
                model,
                condition.title if len(config.models) == 1 else f"{model}, {condition.title}",
                None if condition.plain is None else float(first.mean()),
                float(correct[name, "text"].mean()),
                float((correct[name, "text"] - first).mean()),
                (float(interval.low), float(interval.high)),
            )
        )
    return rows[::-1]


def _conditions(config: DemoConfig) -> dict[str, Condition]:
    text = {"embeddings": [config.out / "embeddings"]}
    noise = {"label_noise": 0.5}
    return {
        "all_labels": Condition("all labels", {}, text),
        "half_wrong": Condition("half of the labels wrong", noise, {**text, **noise, "label_noise_correction": "auto"}),
        "no_labels": Condition("no labels", None, {**text, "labels": str(config.out / "labels.csv")}),
    }


def _run(config: DemoConfig, model: str, condition: str, arm: str) -> Path:
    return config.out / "runs" / f"{model.replace(':', '-')}-{condition}-{arm}"


def _train(config: DemoConfig, model: str, run: Path, options: dict[str, Any]) -> Any:
    """Train and evaluate a network; return whether it is right about each validation image, float64, (N,)."""
    images = str(config.out / "images")
    training = sightwords.TrainConfig(
        images,
        out=run,
        model=model,
        image_size=IMAGE_SIZE,
        epochs=config.epochs,
        batch_size=32,
        lr=2e-3,
        warmup_epochs=min(3, config.epochs / 4),
        augment=sightwords.AugmentConfig(crop_scale=0.5),
        eval_every=config.epochs,
        seed=config.seed,
        workers=config.workers,
        channels_last=True,  # a quarter faster on processors
        resume=True,
        **options,
    )
    print(sightwords.train(training).summary())
    result = sightwords.evaluate(sightwords.EvaluateConfig(run, images, workers=config.workers))
    return pq.read_table(result.out / "predictions.parquet")["correct"].to_numpy().astype(float)
