"""What a training reads, prepared once: splits, the text of each image, and the batches of both.

Shapes: N training images, B images of a batch, S descriptions of an image in a step, D width of the text vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from sightwords.errors import ArtifactError, ConfigError, DataError
from sightwords.images.cache import CachePlan, plan_cache
from sightwords.images.config import SUBSET_OPTIONS
from sightwords.images.dataset import Dataset, Split, open_dataset
from sightwords.images.loader import ImageBatch, TrainOrder, eval_loader, train_loader
from sightwords.images.seeds import derive_seed
from sightwords.images.subset import hold_out, make_subset
from sightwords.images.transforms import EvalTransform, TrainTransform
from sightwords.labels.pseudo_labels import LabelTargets
from sightwords.labels.table import LabelTable
from sightwords.models import InputSpec
from sightwords.text.embedding_set import EmbeddingSet, TextRows
from sightwords.training.config import AlignConfig, TrainConfig
from sightwords.training.distributed import Processes
from sightwords.training.mixing import TextTargets

_CHUNK_ROWS = 8192  # vectors that are read at once
# shorter side of cached training images, in sides of the network's input: enough for the usual random crop
CACHED_SIZE = 1.5


class TextJoin:
    """The vectors of one embedding set for each training image, joined by key: `rows` are the images' in the set.

    Attributes:
        num_described: training images with a description.
        num_texts: S, descriptions of an image in a step.

    Raises:
        ArtifactError: none of the images has a description in the set.
    """

    def __init__(self, embeddings: EmbeddingSet, rows: TextRows, images: Split, seed: int, config: AlignConfig) -> None:
        self.set, self.rows = embeddings, rows
        self._images, self._seed, self._mode = images, seed, config.descriptions
        counts = rows.num_texts
        self.num_described = int((counts > 0).sum())
        if not self.num_described:
            raise ArtifactError(
                f"None of the {len(images)} training images has a description in {embeddings.folder}. "
                "Was it made from these images? Describe them with: sightwords describe IMAGES"
            )
        self.num_texts = min(config.max_descriptions, int(counts.max())) if self._mode == "all" else 1

    def __call__(self, indices: np.ndarray, epoch: int) -> TextTargets:
        """Return vectors and weights of the images at B indices, zeros where there is no description.

        An image with fewer than S descriptions repeats them.
        """
        vectors = np.zeros((len(indices), self.num_texts, self.set.dimension), np.float32)
        weights = (self.rows.starts[indices + 1] > self.rows.starts[indices]).astype(np.float32)
        for place in np.flatnonzero(weights).tolist():
            own = np.asarray(self.set.vectors[self.rows.rows[self._chosen(indices[place], epoch)]], np.float32)
            vectors[place] = own.mean(0) if self._mode == "mean" else own
        joined = torch.from_numpy(vectors)
        return TextTargets(joined if self._mode == "all" else joined[:, 0], torch.from_numpy(weights))

    def _chosen(self, index: int, epoch: int) -> np.ndarray:
        """Return which descriptions an image takes part with, as positions in the rows."""
        own = np.arange(self.rows.starts[index], self.rows.starts[index + 1])
        if self._mode == "mean":
            return own
        first = 0
        if len(own) > self.num_texts:
            first = derive_seed("text", self._seed, epoch, self._images.key(index)) % len(own)
        return np.take(own, np.arange(first, first + self.num_texts), mode="wrap")

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (image indices, vectors) of all descriptions, int64 (C,) and float32 (C, D), in order."""
        owners = self.rows.owners
        for start in range(0, len(owners), _CHUNK_ROWS):
            rows = self.rows.rows[start : start + _CHUNK_ROWS]
            yield owners[start : start + _CHUNK_ROWS], np.asarray(self.set.vectors[rows], np.float32)


@dataclass(frozen=True)
class TrainingData:
    """The images and texts of one training, as they are trained on.

    Attributes:
        dataset: its splits are `train`, `val` and, with `--holdout`, `holdout`.
        texts: the text of each embedding set; none for a baseline.
        num_left_out: training images left out since they have neither label nor description.
        targets: class probabilities of the training images by a table of labels; None without one.
    """

    dataset: Dataset
    texts: list[TextJoin]
    num_left_out: int
    targets: LabelTargets | None = None

    @property
    def train(self) -> Split:
        """The training images."""
        return self.dataset.split("train")

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.dataset.class_ids)

    @property
    def num_unlabeled(self) -> int:
        """Training images without a label; 0 in multi-label data, where that is an answer too."""
        return 0 if self.dataset.multi_label else int((self.train.first_labels() < 0).sum())

    @property
    def num_described(self) -> int | None:
        """Training images with a description in every embedding set at least; None for a baseline."""
        return min((text.num_described for text in self.texts), default=None)


def load_data(config: TrainConfig, group: Processes) -> TrainingData:
    """Return the data of a training: the images, thinned out if asked for, their text, and a holdout.

    Raises:
        ConfigError: an option does not fit the images.
        DataError: the images cannot be used.
        ArtifactError: an embedding set describes none of the images.
    """
    table = LabelTable.read(Path(config.labels)) if config.labels not in (None, "none") else None
    with group.main_first():
        dataset = open_dataset(config, show=group.is_main, more_classes=table.class_ids if table else ())
    dataset = _relabeled(dataset, config, table)
    _check_labels(dataset, config)
    options = {name: getattr(config, name) for name in SUBSET_OPTIONS}
    images = make_subset(dataset.split("train"), len(dataset.class_ids), **options)
    sets = [EmbeddingSet(folder) for folder in config.embeddings]
    rows = [one.rows_of(images.keys()) for one in sets]
    is_usable = np.ones(len(images), bool)
    if not dataset.multi_label:
        is_usable = images.first_labels() >= 0
        is_usable |= rows[0].num_texts > 0 if rows and table is None else False
    kept = np.flatnonzero(is_usable)
    usable = images.subset(kept)
    splits = {**dataset.splits, "train": usable}
    if config.holdout:
        splits["train"], splits["holdout"] = hold_out(usable, config.holdout, config.seed, dataset.multi_label)
        keys, held = usable.keys(), set(splits["holdout"].keys())
        kept = kept[[key not in held for key in keys]]
    texts = [
        TextJoin(one, found.of_images(kept), splits["train"], config.seed, config.align)
        for one, found in zip(sets, rows, strict=True)
    ]
    targets = table.targets(splits["train"], dataset.class_ids) if table else None
    return TrainingData(replace(dataset, splits=splits), texts, int((~is_usable).sum()), targets)


def _relabeled(dataset: Dataset, config: TrainConfig, table: LabelTable | None) -> Dataset:
    """Return the dataset with the training labels that the options ask for."""
    if config.labels is None:
        return dataset
    train = dataset.split("train")
    if table is None:
        ids = dataset.class_ids or ["unknown"]  # a classifier that is not trained still has outputs
        splits = {name: images.unlabeled() for name, images in dataset.splits.items()}
        return replace(dataset, splits=splits, class_ids=ids, class_names=dataset.class_names or ids)
    if dataset.multi_label:
        raise ConfigError("--labels TABLE needs images of one class each, and these have several. Leave it out.")
    labeled = train.relabeled(table.labels(train, dataset.class_ids))
    return replace(dataset, splits={**dataset.splits, "train": labeled})


def _check_labels(dataset: Dataset, config: TrainConfig) -> None:
    if not config.has_labels:
        return
    if len(dataset.class_ids) < 2:
        raise DataError(f"Training needs at least two classes; found {dataset.class_ids}.")
    if dataset.multi_label:
        if config.embeddings and config.label_noise_correction:
            raise ConfigError(
                "--label-noise-correction needs one label per image, and these have several. Leave it out."
            )
        return
    for name in ("train", "val"):
        missing = int((dataset.split(name).first_labels() < 0).sum())
        if missing and (name == "val" or not (config.pseudo_labels or config.labels)):
            also = ", or train on them with --pseudo-labels" if name == "train" else ""
            raise DataError(
                f"{missing} {name} images have no label. Put them into class folders, or give a table{also}."
            )


def draw_probabilities(balanced: float, images: Split) -> np.ndarray | None:
    """Return how often each image is drawn, float64, (N,), n^-balanced of its class's n; None without balancing.

    Of several labels the first counts; images without a label are a class of their own.
    """
    if not balanced:
        return None
    _, inverse, counts = np.unique(images.first_labels(), return_inverse=True, return_counts=True)
    weights = np.power(counts[inverse], -balanced)
    return np.asarray(weights / weights.sum())


def image_cache(config: TrainConfig, dataset: Dataset, spec: InputSpec, split: str) -> CachePlan | None:
    """Return where the decoded images of a split are cached, and at which size; None if --cache-gb is 0.

    Images to evaluate are cached at the size to which evaluation resizes them, so the network gets the very same pixels
    as without the cache.
    """
    if not config.cache_gb:
        return None
    sources = [str(Path(source).absolute()) for source in (config.images, config.train, config.val) if source]
    shorter = dict.fromkeys(dataset.splits, spec.resized)
    shorter["train"] = max(spec.resized, math.ceil(CACHED_SIZE * spec.image_size))
    pixels = {name: len(images) * shorter[name] ** 2 for name, images in dataset.splits.items()}
    together = sum(pixels[name] for name in dataset.splits if shorter[name] == shorter[split])  # they share a file
    return plan_cache(
        "\0".join(sources),
        config.cache_gb * together / sum(pixels.values()),
        shorter[split],
        spec.interpolation,
    )


def evaluation_loader(
    config: TrainConfig, data: TrainingData, split: str, spec: InputSpec, order: TrainOrder, group: Processes
) -> DataLoader[ImageBatch]:
    """Return this process's batches of `val` or `holdout`, as evaluation sees them."""
    return eval_loader(
        data.dataset.split(split),
        data.num_classes,
        EvalTransform(spec),
        2 * order.piece,
        workers=config.workers,
        pin_memory=group.device.type == "cuda",
        rank=group.rank,
        world_size=group.world_size,
        cache=image_cache(config, data.dataset, spec, split),
    )


def training_batches(
    config: TrainConfig,
    data: TrainingData,
    order: TrainOrder,
    spec: InputSpec,
    *,
    first_step: int = 0,
    targets: LabelTargets | None = None,
    pin_memory: bool = False,
) -> Iterator[Any]:
    """Yield this process's batches of every step from `first_step` on, each with its text; no targets = the labels."""
    return iter(
        train_loader(
            data.train,
            data.num_classes,
            TrainTransform(config.augment, spec, config.seed),
            order,
            first_step,
            config.epochs * order.steps_per_epoch,
            workers=config.workers,
            pin_memory=pin_memory,
            join=partial(_join, data.texts),
            cache=image_cache(config, data.dataset, spec, "train"),
            targets=targets,
        )
    )


def _join(texts: Sequence[TextJoin], indices: np.ndarray, epoch: int) -> list[TextTargets]:
    return [text(indices, epoch) for text in texts]
