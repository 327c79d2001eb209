"""`sightwords evaluate`: figures of a trained network on validation images."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from sightwords.errors import ArtifactError, ConfigError
from sightwords.evaluation.config import EvaluateConfig
from sightwords.evaluation.corruptions import CorruptionCounter
from sightwords.evaluation.feature_metrics import Measured, Predictions, feature_metrics, predict
from sightwords.evaluation.metrics import (
    confusion_matrix,
    expected_calibration_error,
    most_confused,
    multi_label_metrics,
    reliability,
    single_label_metrics,
)
from sightwords.files import atomic_path, write_text
from sightwords.hub import choose_device
from sightwords.images.dataset import Dataset, Split, open_dataset
from sightwords.images.loader import ImageBatch, eval_loader
from sightwords.images.transforms import EvalTransform, InputSize
from sightwords.models import Backbone, normalize_images
from sightwords.models.inference import rebuild
from sightwords.models.run_folder import NetworkInfo, RunFolder
from sightwords.progress import duration, stopwatch

LABELS = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean per-class",
    "ece": "calibration error",
    "knn_top1": "kNN top-1",
    "probe_top1": "linear probe top-1",
    "transfer_top1": "transfer top-1",
    "corruption_mean": "corrupted top-1",
    "map": "mAP",
}


@dataclass(frozen=True)
class EvaluateResult:
    """Figures of a network.

    Attributes:
        run: the run's folder.
        out: folder of the figures.
        metrics: each in [0, 1].
        num_images: images measured.
        confused: (true class, predicted class, count), most frequent first; none for multi-label data.
        unreadable: names and reasons of images that were left out.
        seconds: duration.
    """

    run: Path
    out: Path
    metrics: dict[str, float]
    num_images: int
    confused: list[tuple[str, str, int]]
    unreadable: list[str]
    seconds: float

    def summary(self) -> str:
        """Return the figures, in a few lines."""
        lines = [f"{label:>18}  {self.metrics[name]:7.2%}" for name, label in LABELS.items() if name in self.metrics]
        if self.confused:
            lines.append("Most confused: " + "; ".join(f"{a} taken for {b} ({n})" for a, b, n in self.confused))
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images could not be read, such as {self.unreadable[0]}")
        lines.append(f"Measured {self.num_images} images in {duration(self.seconds)}; wrote {self.out}")
        return "\n".join(lines)

    @property
    def next_command(self) -> str:
        """What to run next."""
        return f"sightwords export {self.run} --out {self.run.name}.safetensors"


def evaluate(config: EvaluateConfig) -> EvaluateResult:
    """Measure a run's network.

    Raises:
        ArtifactError: the run is unfinished, or its classes are not those of the images.
        DataError: the images cannot be used.
    """
    folder = RunFolder(config.run)
    info = folder.network()
    splits = ("train", "val") if config.knn or config.probe or config.images else ("val",)
    with stopwatch() as seconds:
        dataset = open_dataset(config, splits)
        _check(dataset, info, config)
        device = choose_device(config.device)
        backbone = rebuild(info, folder.load_weights()).to(device)
        out = config.out or config.run / "evaluation"
        predict_all = partial(_predict, backbone, info, config, device)
        val = dataset.split("val")
        corrupted = CorruptionCounter(_answer(backbone, device)) if config.corruptions else None
        also = _counting(corrupted, val) if corrupted else None
        found = predict_all(val, info.num_classes, "Evaluating", also)
        metrics = _metrics(found, info) | (corrupted.metrics() if corrupted else {})
        metrics |= feature_metrics(config, dataset, Measured(val, found), predict_all, out)
    confused = _write(out, metrics, found, info)
    _write_predictions(out / "predictions.parquet", found, dataset.split("val"), info)
    unreadable = [f"{problem.name}: {problem.reason}" for problem in dataset.problems] + found.unreadable
    return EvaluateResult(config.run, out, metrics, len(found.logits), confused, unreadable, seconds[0])


def _check(dataset: Dataset, info: NetworkInfo, config: EvaluateConfig) -> None:
    if dataset.class_ids != info.class_ids:
        extra = sorted(set(dataset.class_ids) ^ set(info.class_ids))
        raise ArtifactError(
            f"The images have {len(dataset.class_ids)} classes and the run {config.run} has {info.num_classes}; "
            f"differing: {', '.join(extra[:5])}. Name the images that the run was trained for."
        )
    for name in ("knn", "probe", "corruptions", "transfer"):
        if getattr(config, name) and info.multi_label:
            raise ConfigError(f"--{name} needs one class an image; these images have several.")


def _predict(
    backbone: Backbone,
    info: NetworkInfo,
    config: EvaluateConfig,
    device: torch.device,
    images: Split,
    num_classes: int,
    title: str,
    also: Callable[[ImageBatch], None] | None = None,
) -> Predictions:
    transform = EvalTransform(InputSize(info.image_size, info.interpolation, info.crop_pct))
    pin_memory = device.type == "cuda"
    loader = eval_loader(images, num_classes, transform, config.batch_size, config.workers, pin_memory)
    return predict(backbone, loader, device, len(images), title, also)


def _answer(backbone: Backbone, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return a function from uint8 pictures to predicted classes."""
    spec = backbone.input_spec

    def answer(images: Tensor) -> Tensor:
        logits: Tensor = backbone(normalize_images(images.to(device), spec.mean, spec.std))[1]
        return logits.argmax(1).cpu()

    return answer


def _counting(counter: CorruptionCounter, images: Split) -> Callable[[ImageBatch], None]:
    def count(batch: ImageBatch) -> None:
        counter.add(batch.images, batch.targets.argmax(1), [images.key(i) for i in batch.indices.tolist()])

    return count


def _metrics(found: Predictions, info: NetworkInfo) -> dict[str, float]:
    if info.multi_label:
        return multi_label_metrics(found.logits, found.targets)
    labels = found.targets.argmax(1)
    ece = expected_calibration_error(found.logits.softmax(1), labels)
    return {**single_label_metrics(found.logits, labels), "ece": ece}


def _write(out: Path, metrics: dict[str, float], found: Predictions, info: NetworkInfo) -> list[tuple[str, str, int]]:
    """Write metrics.json and, for single-label data, confusion.csv; return the most confused pairs by name."""
    values = {**metrics, "num_images": len(found.logits)}
    write_text(out / "metrics.json", json.dumps(values, indent=2) + "\n")
    if info.multi_label:
        return []
    _write_reliability(out / "reliability.csv", found)
    matrix = confusion_matrix(found.logits, found.targets.argmax(1))
    _write_confusion(out / "confusion.csv", matrix, info.class_ids)
    _write_per_class(out / "per_class.csv", matrix, info)
    return [(info.class_names[a], info.class_names[b], count) for a, b, count in most_confused(matrix)]


def _write_predictions(path: Path, found: Predictions, images: Split, info: NetworkInfo) -> None:
    """Write one row an image: key, name, label, predicted class, its score, and whether it is a label of the image."""
    scores = found.logits.sigmoid() if info.multi_label else found.logits.softmax(1)
    score, predicted = scores.max(1)
    columns = {
        "key": [images.key(i) for i in found.indices.tolist()],
        "name": [images.reference(i).name for i in found.indices.tolist()],
        "label": ["|".join(info.class_ids[j] for j in images.labels(i)) for i in found.indices.tolist()],
        "predicted": [info.class_ids[i] for i in predicted.tolist()],
        "score": score.numpy(),
        "correct": (found.targets.gather(1, predicted[:, None])[:, 0] > 0).numpy(),
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def _write_confusion(path: Path, matrix: Tensor, class_ids: list[str]) -> None:
    """Write the confusion matrix: a row for each true class, a column for each predicted one."""
    rows = [[class_id, *row] for class_id, row in zip(class_ids, matrix.tolist(), strict=True)]
    _write_csv(path, ["true \\ predicted", *class_ids], rows)


def _write_per_class(path: Path, matrix: Tensor, info: NetworkInfo) -> None:
    """Write number of images and accuracy of each class; of a class without images the accuracy is empty."""
    counts, right = matrix.sum(1).tolist(), matrix.diagonal().tolist()
    rows = zip(info.class_ids, info.class_names, counts, right, strict=True)
    values = [(id_, name, count, hits / count if count else "") for id_, name, count, hits in rows]
    _write_csv(path, ("class", "name", "num_images", "accuracy"), values)


def _write_reliability(path: Path, found: Predictions) -> None:
    scores, predicted = found.logits.softmax(1).max(1)
    correct = predicted == found.targets.argmax(1)
    columns = reliability(scores.numpy(), correct.numpy())
    _write_csv(path, ("score", "accuracy", "num_images"), [row for row in zip(*columns, strict=True) if row[2]])


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
