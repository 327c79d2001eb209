"""What needs the features of labeled training images: nearest neighbors, a linear probe, transfer to other images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from sightwords.errors import ConfigError
from sightwords.evaluation.config import EvaluateConfig
from sightwords.files import atomic_path
from sightwords.images.dataset import Dataset, Split, open_dataset
from sightwords.images.loader import ImageBatch
from sightwords.labels.noise import fit_logistic
from sightwords.models import Backbone, normalize_images
from sightwords.progress import Progress


@dataclass(frozen=True)
class Predictions:
    """What a network says about N images, on the CPU.

    Attributes:
        features: pooled features, float32, shape (N, F).
        logits: outputs, float32, shape (N, K).
        targets: 0 or 1 for each class, float32, shape (N, K).
        indices: index of each image in its set, int64, shape (N,).
        unreadable: names and reasons of images that are not among the N.
    """

    features: Tensor
    logits: Tensor
    targets: Tensor
    indices: Tensor
    unreadable: list[str]


@torch.inference_mode()
def predict(
    backbone: Backbone,
    loader: DataLoader[ImageBatch],
    device: torch.device,
    num_images: int,
    title: str,
    also: Callable[[ImageBatch], None] | None = None,
) -> Predictions:
    """Return a network's features and outputs for every image of a loader, in eval mode.

    Args:
        backbone: the network, on the device.
        loader: the images, in batches.
        device: where the network is.
        num_images: how many come, for the progress.
        title: of the progress.
        also: called with every loaded batch.
    """
    backbone.eval()
    spec = backbone.input_spec
    parts: list[tuple[Tensor, ...]] = []
    unreadable: list[str] = []
    with Progress(title, num_images, "images") as progress:
        for batch in loader:
            images = normalize_images(batch.images.to(device, non_blocking=True), spec.mean, spec.std)
            features, logits = backbone(images)
            parts.append((features.float().cpu(), logits.float().cpu(), batch.targets, batch.indices))
            unreadable += batch.unreadable
            if also is not None:
                also(batch)
            progress.advance(len(batch.indices) + len(batch.unreadable))
    features, logits, targets, indices = (torch.cat(column) for column in zip(*parts, strict=True))
    return Predictions(features, logits, targets, indices, unreadable)


BLOCK = 1024  # rows compared at a time: memory is BLOCK x number of training images


def knn_accuracy(
    features_NF: Tensor, labels_N: Tensor, train_MF: Tensor, train_labels_M: Tensor, k: int, temperature: float = 0.07
) -> float:
    """Return the top-1 accuracy of a vote of the k nearest training images, weighted by exp(cosine / temperature).

    Not to be compared with the classifier's own accuracy: it measures features. Source of the weighting: DINO,
    arXiv 2104.14294, section 3.1.

    Args:
        features_NF: features of the images to classify, shape (N, F).
        labels_N: their classes, shape (N,).
        train_MF: features of the training images, shape (M, F).
        train_labels_M: their classes, shape (M,).
        k: number of neighbors; at most M are used.
        temperature: of the weights.
    """
    similarity, neighbors = nearest(features_NF, train_MF, k)
    num_classes = int(max(labels_N.max(), train_labels_M.max())) + 1
    votes = torch.zeros(len(features_NF), num_classes, dtype=similarity.dtype)
    votes.scatter_add_(1, train_labels_M[neighbors], (similarity / temperature).exp())
    return float((votes.argmax(1) == labels_N).float().mean())


def nearest(features_NF: Tensor, train_MF: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return cosines and rows of the k nearest training images of each image, nearest first, both (N, min(k, M))."""
    train = F.normalize(train_MF, dim=1)
    blocks = torch.split(features_NF, BLOCK)
    found = [(F.normalize(block, dim=1) @ train.T).topk(min(k, len(train))) for block in blocks]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


NUM_STEPS = 100
L2 = 1e-3


def linear_probe_accuracy(
    features_NF: Tensor, labels_N: Tensor, train_MF: Tensor, train_labels_M: Tensor, l2: float = L2
) -> float:
    """Return the top-1 accuracy of multinomial logistic regression on standardized features, fitted by L-BFGS.

    Deterministic: the loss is convex and the start is zero.

    Args:
        features_NF: features of the images to classify, shape (N, F).
        labels_N: their classes, shape (N,).
        train_MF: features of the training images, shape (M, F).
        train_labels_M: their classes, shape (M,).
        l2: factor of the squared weights, beside the mean loss.
    """
    mean, std = train_MF.mean(0), train_MF.std(0).clamp(min=1e-6)
    train, tested = (train_MF - mean) / std, (features_NF - mean) / std
    num_classes = int(max(labels_N.max(), train_labels_M.max())) + 1
    weight, bias = fit_logistic(train, train_labels_M, num_classes, l2, NUM_STEPS)
    predicted = (tested @ weight.T + bias).argmax(1)
    return float((predicted == labels_N).float().mean())


NUM_NEIGHBORS = 5
Predict = Callable[[Split, int, str], Predictions]  # images, number of their classes, title


@dataclass(frozen=True)
class Measured:
    """Validation images with their predictions.

    Attributes:
        images: the images.
        found: the predictions.
    """

    images: Split
    found: Predictions


def feature_metrics(
    config: EvaluateConfig, dataset: Dataset, val: Measured, predict: Predict, out: Path
) -> dict[str, float]:
    """Return the figures that are asked for, each in [0, 1], and write `neighbors.parquet` where kNN is among them."""
    metrics: dict[str, float] = {}
    if config.knn or config.probe:
        images = dataset.split("train")
        images = images.subset(np.flatnonzero(images.first_labels() >= 0).tolist())
        train = predict(images, len(dataset.class_ids), "Training features")
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
    other = open_dataset(replace(config, images=config.transfer, train=None, val=None, classes=None))
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
