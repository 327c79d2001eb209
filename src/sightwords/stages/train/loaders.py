"""The images of a training, batch by batch, in training and in evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from sightwords.artifacts.run_labels import LabelShares
from sightwords.data.augment import EvalTransform, InputSize, TrainTransform
from sightwords.data.catalog import Catalog
from sightwords.data.loader import ImageBatch, eval_loader, train_loader
from sightwords.stages.train.config import TrainConfig
from sightwords.stages.train.kept_pictures import kept_pictures
from sightwords.stages.train.loop import Loop
from sightwords.stages.train.process import Processes
from sightwords.stages.train.task import Task
from sightwords.stages.train.text_join import TextJoin, TextJoins


def draw_probabilities(config: TrainConfig, catalog: Catalog) -> np.ndarray | None:
    """Return how often each training image is drawn, where classes are balanced: n^-balanced of its class's n.

    Of several labels the first counts; images without a label are a class of their own.
    """
    if not config.balanced:
        return None
    _, inverse, counts = np.unique(catalog.split("train").first_labels(), return_inverse=True, return_counts=True)
    weights = np.power(counts[inverse], -config.balanced)
    return np.asarray(weights / weights.sum())


def evaluation_loader(
    config: TrainConfig, catalog: Catalog, split: str, task: Task, group: Processes
) -> DataLoader[ImageBatch]:
    """Return the batches of a split as evaluation sees them.

    Args:
        config: the options.
        catalog: the images.
        split: `val` or `holdout`.
        task: what is evaluated.
        group: the processes; each gets its share.
    """
    spec = task.backbone.input_spec
    return eval_loader(
        catalog.split(split),
        len(catalog.class_ids),
        EvalTransform(InputSize(spec.image_size, spec.interpolation, config.crop_pct or spec.crop_pct)),
        2 * task.capacity,
        config.workers,
        group.device.type == "cuda",
        group.rank,
        group.world_size,
        kept_pictures(config, catalog, spec, split),
    )


def training_batches(
    config: TrainConfig,
    catalog: Catalog,
    loop: Loop,
    text: list[TextJoin],
    first_step: int,
    group: Processes,
    labels: LabelShares | None = None,
) -> Iterator[Any]:
    """Yield the batches of every step from `first_step` on, each with its text.

    Args:
        config: the options.
        catalog: the images.
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
        catalog.split("train"),
        len(catalog.class_ids),
        transform,
        loop.order,
        first_step,
        loop.num_steps,
        config.workers,
        pin_memory,
        TextJoins(text) if text else None,
        kept_pictures(config, catalog, spec, "train"),
        labels,
    )
    return iter(loader)
