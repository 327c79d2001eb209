"""The text vectors of training images, joined by key; called in the loader's workers.

Shapes: N training images, R descriptions of them, B images of a batch, S descriptions of an image in a step, D width of
the text vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from sightwords.images.cache import CachePlan, plan_cache
from sightwords.images.dataset import Dataset
from sightwords.images.loader import ImageBatch, eval_loader, train_loader
from sightwords.images.transforms import EvalTransform, InputSize, TrainTransform
from sightwords.models import InputSpec
from sightwords.training.batches import TextJoin, TextJoins
from sightwords.training.config import TrainConfig
from sightwords.training.distributed import Processes
from sightwords.training.loop import Loop
from sightwords.training.pseudo_labels import LabelShares
from sightwords.training.task import Task

# shorter side in sides of the network's input: the usual random crop still has its pixels
SHRUNK = 1.5


def kept_pictures(config: TrainConfig, dataset: Dataset, spec: InputSpec, split: str) -> CachePlan | None:
    """Return where the pictures of a split are kept, and how small; None where --cache-gb is 0.

    Those to evaluate are kept at the size to which evaluation resizes, so that the network is given the very pixels
    that it is given without the cache.

    Args:
        config: says where the images are, and how many gigabytes there are for all splits.
        dataset: the images of all splits.
        spec: what the network takes.
        split: `train`, or one to evaluate.
    """
    if not config.cache_gb:
        return None
    places = [str(Path(place).absolute()) for place in (config.images, config.train, config.val) if place]
    size = InputSize(spec.image_size, spec.interpolation, config.crop_pct or spec.crop_pct)
    shorter = dict.fromkeys(dataset.splits, size.resized)
    shorter["train"] = max(size.resized, math.ceil(SHRUNK * size.image_size))
    pixels = {name: len(images) * shorter[name] ** 2 for name, images in dataset.splits.items()}
    together = sum(pixels[name] for name in dataset.splits if shorter[name] == shorter[split])  # they share a file
    return plan_cache(
        "\0".join(places),
        config.cache_gb * together / sum(pixels.values()),
        shorter[split],
        spec.interpolation,
    )


def draw_probabilities(config: TrainConfig, dataset: Dataset) -> np.ndarray | None:
    """Return how often each training image is drawn, where classes are balanced: n^-balanced of its class's n.

    Of several labels the first counts; images without a label are a class of their own.
    """
    if not config.balanced:
        return None
    _, inverse, counts = np.unique(dataset.split("train").first_labels(), return_inverse=True, return_counts=True)
    weights = np.power(counts[inverse], -config.balanced)
    return np.asarray(weights / weights.sum())


def evaluation_loader(
    config: TrainConfig, dataset: Dataset, split: str, task: Task, group: Processes
) -> DataLoader[ImageBatch]:
    """Return the batches of a split as evaluation sees them.

    Args:
        config: the options.
        dataset: the images.
        split: `val` or `holdout`.
        task: what is evaluated.
        group: the processes; each gets its share.
    """
    spec = task.backbone.input_spec
    return eval_loader(
        dataset.split(split),
        len(dataset.class_ids),
        EvalTransform(InputSize(spec.image_size, spec.interpolation, config.crop_pct or spec.crop_pct)),
        2 * task.capacity,
        config.workers,
        group.device.type == "cuda",
        group.rank,
        group.world_size,
        kept_pictures(config, dataset, spec, split),
    )


def training_batches(
    config: TrainConfig,
    dataset: Dataset,
    loop: Loop,
    text: list[TextJoin],
    first_step: int,
    group: Processes,
    labels: LabelShares | None = None,
) -> Iterator[Any]:
    """Yield the batches of every step from `first_step` on, each with its text.

    Args:
        config: the options.
        dataset: the images.
        loop: the training; its order decides what each process gets.
        text: joins of images and text vectors; none for a baseline.
        first_step: step to go on from.
        group: the processes.
        labels: what to train towards instead of the labels as they are.
    """
    spec = loop.state.task.backbone.input_spec
    size = InputSize(spec.image_size, spec.interpolation, spec.crop_pct, spec.mean)
    transform = TrainTransform(config.augment, size, config.seed)
    pin_memory = group.device.type == "cuda"
    loader = train_loader(
        dataset.split("train"),
        len(dataset.class_ids),
        transform,
        loop.order,
        first_step,
        loop.num_steps,
        config.workers,
        pin_memory,
        TextJoins(text) if text else None,
        kept_pictures(config, dataset, spec, "train"),
        labels,
    )
    return iter(loader)
