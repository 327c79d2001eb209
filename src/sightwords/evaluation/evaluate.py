"""`sightwords evaluate`: metrics of a trained network on validation images."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from sightwords.errors import ArtifactError, ConfigError
from sightwords.evaluation.config import EvaluateConfig
from sightwords.evaluation.corruptions import CorruptionCounter
from sightwords.evaluation.metrics import (
    confusion_matrix,
    knn_accuracy,
    linear_probe_accuracy,
    most_confused,
    multi_label_metrics,
    nearest,
    reliability,
    single_label_metrics,
)
from sightwords.files import atomic_path, write_text
from sightwords.images.dataset import Dataset, Split, open_dataset
from sightwords.models.inference import TrainedNetwork
from sightwords.models.run_folder import NetworkInfo, RunFolder
from sightwords.progress import duration, stopwatch

TITLES = {
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
_NUM_NEIGHBORS = 5  # written for each image


@dataclass(frozen=True)
class EvaluateResult:
    """Metrics of a network.

    Attributes:
        run: the run's folder.
        out: folder of the results.
        metrics: each in [0, 1].
        num_images: images measured.
        confused: names of true and predicted class and their count, most frequent first; none for multi-label data.
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
        """Return the metrics, in a few lines."""
        lines = [f"{title:>18}  {self.metrics[name]:7.2%}" for name, title in TITLES.items() if name in self.metrics]
        if self.confused:
            lines.append("Most confused: " + "; ".join(f"{a} mistaken for {b} ({n})" for a, b, n in self.confused))
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images could not be read, such as {self.unreadable[0]}")
        lines.append(f"Evaluated {self.num_images} images in {duration(self.seconds)}; wrote {self.out}")
        return "\n".join(lines)

    @property
    def next_command(self) -> str:
        """What to run next."""
        return f"sightwords export {self.run} --out {self.run.name}.safetensors"


@dataclass(frozen=True)
class Outputs:
    """What a network gives for the N readable images of a split, on the CPU.

    Attributes:
        images: the N images.
        features: pooled features, float32, shape (N, F).
        logits: float32, shape (N, K).
        targets: 0 or 1 for each class, float32, shape (N, K).
        unreadable: names and reasons of images that are not among the N.
    """

    images: Split
    features: Tensor
    logits: Tensor
    targets: Tensor
    unreadable: list[str]

    @property
    def labels(self) -> Tensor:
        """Class indices of single-label images, int64, shape (N,)."""
        return self.targets.argmax(1)


def evaluate(config: EvaluateConfig) -> EvaluateResult:
    """Measure a run's network.

    Raises:
        ArtifactError: the run is unfinished, or its classes are not those of the images.
        DataError: the images cannot be used.
    """
    with stopwatch() as seconds:
        network = TrainedNetwork(RunFolder(config.run), config.device)
        info, out = network.info, config.out or config.run / "evaluation"
        splits = ("train", "val") if config.knn or config.probe or config.images else ("val",)
        dataset = open_dataset(config, splits)
        _check(dataset, info, config)
        counter = CorruptionCounter(lambda images: network(images)[1].argmax(1).cpu()) if config.corruptions else None
        val = outputs(network, dataset.split("val"), info.num_classes, config, counter)
        metrics = (
            multi_label_metrics(val.logits, val.targets)
            if info.multi_label
            else single_label_metrics(val.logits, val.labels)
        )
        metrics |= counter.metrics() if counter else {}
        metrics |= _feature_metrics(config, dataset, network, val, out)
        write_text(out / "metrics.json", json.dumps({**metrics, "num_images": len(val.logits)}, indent=2) + "\n")
        _write_predictions(out / "predictions.parquet", val, info)
        confused = [] if info.multi_label else _write_tables(out, val, info)
    return EvaluateResult(
        run=config.run,
        out=out,
        metrics=metrics,
        num_images=len(val.logits),
        confused=confused,
        unreadable=[*map(str, dataset.problems), *val.unreadable],
        seconds=seconds[0],
    )


def outputs(
    network: TrainedNetwork,
    images: Split,
    num_classes: int,
    config: EvaluateConfig,
    counter: CorruptionCounter | None = None,
) -> Outputs:
    """Return a network's outputs for all images of a split; targets are `num_classes` wide.

    A counter counts the network's right answers for corrupted copies of the images.
    """
    parts: list[tuple[Tensor, ...]] = []
    unreadable: list[str] = []
    for output in network.infer(images, config.batch_size, config.workers, "Evaluating", num_classes=num_classes):
        batch = output.batch
        parts.append((output.features.cpu(), output.logits.cpu(), batch.targets, batch.indices))
        unreadable += batch.unreadable
        if counter is not None:
            counter.add(batch.images, batch.targets.argmax(1), [images.key(i) for i in batch.indices.tolist()])
    features, logits, targets, indices = (torch.cat(column) for column in zip(*parts, strict=True))
    return Outputs(images.subset(indices.numpy()), features, logits, targets, unreadable)


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


def _feature_metrics(
    config: EvaluateConfig, dataset: Dataset, network: TrainedNetwork, val: Outputs, out: Path
) -> dict[str, float]:
    """Return what is measured in the features, each in [0, 1]; write `neighbors.parquet` where kNN is among them."""
    metrics: dict[str, float] = {}
    if config.knn or config.probe:
        images = dataset.split("train")
        labeled = images.subset(np.flatnonzero(images.first_labels() >= 0))
        train = outputs(network, labeled, len(dataset.class_ids), config)
        if config.knn:
            metrics["knn_top1"] = knn_accuracy(val.features, val.labels, train.features, train.labels, config.knn)
            _write_neighbors(out / "neighbors.parquet", val, train)
        if config.probe:
            metrics["probe_top1"] = linear_probe_accuracy(val.features, val.labels, train.features, train.labels)
    if config.transfer is not None:
        other = open_dataset(replace(config, images=config.transfer, train=None, val=None, classes=None))
        if other.multi_label:
            raise ConfigError(f"--transfer needs one class an image; {config.transfer} has several.")
        val, train = (outputs(network, other.split(name), len(other.class_ids), config) for name in ("val", "train"))
        metrics["transfer_top1"] = linear_probe_accuracy(val.features, val.labels, train.features, train.labels)
    return metrics


def _write_neighbors(path: Path, val: Outputs, train: Outputs) -> None:
    """Write the key of each validation image with the keys of the training images that it is most like."""
    _, rows = nearest(val.features, train.features, _NUM_NEIGHBORS)
    keys = np.array(train.images.keys())
    with atomic_path(path) as temporary:
        pq.write_table(pa.table({"key": val.images.keys(), "neighbors": keys[rows].tolist()}), temporary)


def _write_predictions(path: Path, val: Outputs, info: NetworkInfo) -> None:
    """Write one row an image: key, name, label, predicted class, its score, and whether it is a label of the image."""
    scores, images = val.logits.sigmoid() if info.multi_label else val.logits.softmax(1), val.images
    score, predicted = scores.max(1)
    columns = {
        "key": images.keys(),
        "name": [images.reference(i).name for i in range(len(images))],
        "label": ["|".join(info.class_ids[j] for j in images.labels(i)) for i in range(len(images))],
        "predicted": [info.class_ids[i] for i in predicted.tolist()],
        "predicted_name": [info.class_names[i] for i in predicted.tolist()],
        "score": score.numpy(),
        "correct": (val.targets.gather(1, predicted[:, None])[:, 0] > 0).numpy(),
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def _write_tables(out: Path, val: Outputs, info: NetworkInfo) -> list[tuple[str, str, int]]:
    """Write the tables of single-label images; return the most confused classes by name."""
    scores, predicted = val.logits.softmax(1).max(1)
    bins = reliability(scores.numpy(), (predicted == val.labels).numpy())
    _write_csv(out / "reliability.csv", ("score", "accuracy", "num_images"), bins)
    matrix = confusion_matrix(val.logits, val.labels)
    rows = [[class_id, *row] for class_id, row in zip(info.class_ids, matrix.tolist(), strict=True)]
    _write_csv(out / "confusion.csv", ["true \\ predicted", *info.class_ids], rows)
    counts = zip(info.class_ids, info.class_names, matrix.sum(1).tolist(), matrix.diagonal().tolist(), strict=True)
    per_class = [(class_id, name, count, right / count if count else "") for class_id, name, count, right in counts]
    _write_csv(out / "per_class.csv", ("class", "name", "num_images", "accuracy"), per_class)
    return [(info.class_names[a], info.class_names[b], count) for a, b, count in most_confused(matrix)]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
