"""Weights of the classes in the classification loss, for data in which some classes are rare.

Shapes: N training images, K classes.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from sightwords.data.image_set import ImageSet
from sightwords.errors import ConfigError

EFFECTIVE_BETA = 0.999


def class_weights(how: str, images: ImageSet, class_ids: list[str]) -> np.ndarray | None:
    """Return the weight of each class, float32, (K,), 1 in the mean over the training labels; None = all alike.

    Args:
        how: `none`; `balanced`, 1 / n of the n images of a class; `effective`, (1 - b) / (1 - b^n) with b = 0.999
            (class-balanced loss, arXiv 1901.05555, equation 5); or a CSV file `id,weight`.
        images: the training images.
        class_ids: ids of the classes, in the order of the outputs.

    Raises:
        ConfigError: the file cannot be read or does not fit the classes.
    """
    if how == "none":
        return None
    counts = _class_counts(images, len(class_ids))
    if how == "balanced":
        weights = 1 / np.maximum(counts, 1)
    elif how == "effective":
        weights = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA ** np.maximum(counts, 1))
    else:
        weights = _read(Path(how), class_ids)
    mean = float((weights * counts).sum() / counts.sum())
    return np.asarray(weights / mean, np.float32)


def _class_counts(images: ImageSet, num_classes: int) -> np.ndarray:
    """Return the number of images of each class, float64, (K,); an image of several classes counts for each."""
    counts = np.zeros(num_classes)
    for index in range(len(images)):
        counts[images.labels(index)] += 1
    return counts


def _read(path: Path, class_ids: list[str]) -> np.ndarray:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        found = {row[0]: float(row[1]) for row in rows if row and row[0] != "id"}
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError(
            f"--class-weights {path}: {error}. Give none, balanced, effective, or a CSV file with lines `id,weight`."
        ) from None
    missing = [class_id for class_id in class_ids if class_id not in found]
    if missing or any(not weight >= 0 for weight in found.values()):
        what = f"has no weight for {', '.join(missing[:5])}" if missing else "has negative weights"
        raise ConfigError(f"--class-weights {path} {what}. Give each class a weight of 0 or more.")
    weights = np.array([found[class_id] for class_id in class_ids])
    if not weights.any():
        raise ConfigError(f"--class-weights {path} gives every class a weight of 0.")
    return weights
