"""What needs the features of labeled training images: nearest neighbors, a linear probe, transfer to other images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sightwords.data.catalog import Catalog, open_catalog
from sightwords.data.image_set import ImageSet
from sightwords.errors import ConfigError
from sightwords.files import atomic_path
from sightwords.stages.evaluate.config import EvaluateConfig
from sightwords.stages.evaluate.knn import knn_accuracy, nearest
from sightwords.stages.evaluate.linear_probe import linear_probe_accuracy
from sightwords.stages.evaluate.prediction import Predictions

NUM_NEIGHBORS = 5
Predict = Callable[[ImageSet, int, str], Predictions]  # images, number of their classes, title


@dataclass(frozen=True)
class Measured:
    """Validation images with their predictions.

    Attributes:
        images: the images.
        found: the predictions.
    """

    images: ImageSet
    found: Predictions


def feature_metrics(
    config: EvaluateConfig, catalog: Catalog, val: Measured, predict: Predict, out: Path
) -> dict[str, float]:
    """Return the figures that are asked for, each in [0, 1], and write `neighbors.parquet` where kNN is among them."""
    metrics: dict[str, float] = {}
    if config.knn or config.probe:
        images = catalog.split("train")
        images = images.subset(np.flatnonzero(images.first_labels() >= 0).tolist())
        train = predict(images, len(catalog.class_ids), "Training features")
        four = (val.found.features, val.found.targets.argmax(1), train.features, train.targets.argmax(1))
        if config.knn:
            metrics["knn_top1"] = knn_accuracy(*four, config.knn)
            _write_neighbors(out / "neighbors.parquet", val, Measured(images, train))
        if config.probe:
            metrics["probe_top1"] = linear_probe_accuracy(*four)
    if config.transfer is not None:
        metrics["transfer_top1"] = _transfer(config, predict)
    return metrics


def _transfer(config: EvaluateConfig, predict: Predict) -> float:
    other = open_catalog(replace(config, images=config.transfer, train=None, val=None, classes=None))
    if other.multi_label:
        raise ConfigError(f"--transfer needs one class an image; {config.transfer} has several.")
    parts = [predict(other.split(name), len(other.class_ids), f"Transfer, {name}") for name in ("val", "train")]
    val, train = ((part.features, part.targets.argmax(1)) for part in parts)
    return linear_probe_accuracy(*val, *train)


def _write_neighbors(path: Path, val: Measured, train: Measured) -> None:
    """Write the key of each validation image with the keys of the training images that it is most like."""
    _, rows = nearest(val.found.features, train.found.features, NUM_NEIGHBORS)
    train_keys = [train.images.key(index) for index in train.found.indices.tolist()]
    columns = {
        "key": [val.images.key(index) for index in val.found.indices.tolist()],
        "neighbors": [[train_keys[row] for row in own] for own in rows.tolist()],
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
