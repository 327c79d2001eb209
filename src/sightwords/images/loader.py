"""Batches of decoded images in a given order; the number of worker processes changes the speed and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_convert

from sightwords.errors import ConfigError, DataError, UnreadableImageError
from sightwords.images.cache import CachePlan, ImageCache
from sightwords.images.dataset import Split
from sightwords.images.decode import open_image
from sightwords.images.references import ImageReference, ImageReferences
from sightwords.images.seeds import generator
from sightwords.images.transforms import CroppableImage, DecodedImage, EvalTransform, TrainTransform, shrunk


@dataclass(frozen=True)
class Slot:
    """One place in a batch: which image of the split comes there.

    Epoch and `repeat` (how many times the image came before in this global batch) vary its augmentation; `position` is
    its place in the global batch of that step. All count from 0, steps over the whole training.
    """

    epoch: int
    step: int
    position: int
    index: int
    repeat: int = 0


@dataclass
class ImageBatch:
    """The readable images of one process's part of a batch.

    Attributes:
        images: uint8, shape (B, 3, S, S).
        targets: float32, shape (B, K): one-hot, several ones in multi-label data, or what the caller's `targets` gave.
        indices: index of each image in its set, int64, shape (B,).
        positions: place of each in the global batch, int64, shape (B,).
        epoch: epoch, from 0.
        step: optimizer step, from 0.
        unreadable: names and reasons of images that fell out.
        extra: what the caller's `join` added, each with a method `pin_memory`.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor
    positions: Tensor
    epoch: int
    step: int
    unreadable: list[str]
    extra: list[Any]

    def pin_memory(self) -> ImageBatch:
        """Return the batch in page-locked memory (called by the DataLoader)."""
        extra = [one.pin_memory() for one in self.extra]
        pinned = {name: getattr(self, name).pin_memory() for name in ("images", "targets", "indices", "positions")}
        return replace(self, extra=extra, **pinned)


Join = Callable[[np.ndarray, int], list[Any]]
Targets = Callable[[np.ndarray], Tensor]


class _Images(Dataset[Any]):
    """Reads, decodes and transforms the images of one batch; holds columns, not objects."""

    def __init__(
        self, images: Split, num_classes: int, transform: TrainTransform | EvalTransform, plan: CachePlan | None
    ) -> None:
        self._images, self._num_classes, self._transform, self._plan = images, num_classes, transform, plan
        self._cache: ImageCache | None = None
        # where an image comes several times in a batch, it is decoded once for all of them, and always whole, so that
        # it has the same pixels in a process that meets it but once
        self.is_repeated = False
        self.join: Join | None = None
        self.targets: Targets = self._one_hot

    def __getitem__(self, slots: Sequence[Slot]) -> ImageBatch:
        decoded: dict[int, CroppableImage] = {}
        pixels: list[Tensor] = []
        read: list[Slot] = []
        unreadable: list[str] = []
        for slot in slots:
            try:
                image = decoded.get(slot.index) or self._open(slot.index)
                if self.is_repeated:
                    decoded[slot.index] = image
                pixels.append(self._transform(image, slot.epoch, self._images.key(slot.index), slot.repeat))
                read.append(slot)
            except UnreadableImageError as error:
                unreadable.append(f"{error.name}: {error.reason}")
        if self._cache is not None:
            self._cache.flush()
        if not read:
            raise DataError(f"None of the {len(slots)} images of a batch can be read; the first: {unreadable[0]}.")
        indices, epoch = np.array([slot.index for slot in read], np.int64), read[0].epoch
        return ImageBatch(
            images=torch.stack(pixels),
            targets=self.targets(indices),
            indices=torch.from_numpy(indices),
            positions=torch.tensor([slot.position for slot in read]),
            epoch=epoch,
            step=read[0].step,
            unreadable=unreadable,
            extra=self.join(indices, epoch) if self.join else [],
        )

    def _open(self, index: int) -> CroppableImage:
        """Return an image; from the cache the same, whether it was there or is made here."""
        reference, plan = self._images.reference(index), self._plan
        if plan is None:
            encoded = open_image(reference)
            return DecodedImage(np.asarray(encoded.decode())) if self.is_repeated else encoded
        if self._cache is None:  # opened in the process that reads
            self._cache = ImageCache(plan)
        pixels = self._cache.get(self._images.key(index))
        if pixels is None:
            small = shrunk(open_image(reference), plan.shorter, plan.interpolation)
            pixels = small.permute(1, 2, 0).contiguous().numpy()
            self._cache.put(self._images.key(index), pixels)
        return DecodedImage(pixels)

    def _one_hot(self, indices: np.ndarray) -> Tensor:
        targets = torch.zeros(len(indices), self._num_classes)
        for row, index in enumerate(indices.tolist()):
            targets[row, self._images.labels(index).tolist()] = 1.0
        return targets


@dataclass(frozen=True)
class TrainOrder:
    """The order of all training, cut into steps, processes and micro-batches; a function of its fields alone.

    A global batch is cut into `world_size * accumulate` consecutive pieces, so its images, their positions and their
    neighbors are the same for any number of processes. The incomplete last batch of an epoch is left out.

    Attributes:
        num_images: images in the set.
        batch_size: images in a step, over all processes and micro-batches.
        seed: seed of the order.
        rank: this process.
        world_size: number of processes.
        accumulate: micro-batches in a step.
        probabilities: of each image to be drawn, float64, shape (N,); None takes each once an epoch.
        repeats: times that each image of a global batch comes in it; an epoch then sees that part of the images.
    """

    num_images: int
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    accumulate: int = 1
    probabilities: np.ndarray | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        pieces = self.world_size * self.accumulate
        if self.batch_size % pieces:
            raise ConfigError(
                f"--batch-size is {self.batch_size}; it must be a multiple of processes x micro-batches "
                f"({self.world_size} x {self.accumulate}). The nearest is {max(1, self.batch_size // pieces) * pieces}."
            )
        if self.num_images < self.batch_size:
            raise ConfigError(
                f"--batch-size is {self.batch_size}, but there are only {self.num_images} training images. "
                f"Choose at most {self.num_images}."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return self.num_images // self.batch_size

    @property
    def piece(self) -> int:
        """Images in one micro-batch of one process."""
        return self.batch_size // (self.world_size * self.accumulate)

    def batches(self, first_step: int, last_step: int) -> Iterator[list[Slot]]:
        """Yield this process's micro-batches of the steps from `first_step` up to, not including, `last_step`."""
        order, order_epoch = np.empty(0, np.int64), -1
        for step in range(first_step, last_step):
            epoch, within = divmod(step, self.steps_per_epoch)
            if epoch != order_epoch:
                order, order_epoch = self.epoch_order(epoch), epoch
            base = within * self.num_distinct
            for micro in range(self.accumulate):
                start = (micro * self.world_size + self.rank) * self.piece
                positions = range(start, start + self.piece)
                # repeats lie far apart: neighbors are partners in mixup
                parts = [(position, *divmod(position, self.num_distinct)) for position in positions]
                yield [Slot(epoch, step, at, int(order[base + place]), repeat) for at, repeat, place in parts]

    @property
    def num_distinct(self) -> int:
        """Images in a global batch without repeats."""
        return -(-self.batch_size // self.repeats)

    def epoch_order(self, epoch: int) -> np.ndarray:
        """Return the images' indices in the order of an epoch, int64, shape (N,), a function of (seed, epoch) alone."""
        draw = generator("order", self.seed, epoch)
        if self.probabilities is None:
            return draw.permutation(self.num_images)
        # systematic resampling: an image of probability p comes floor(N p) or ceil(N p) times
        places = (draw.random() + np.arange(self.num_images)) / self.num_images
        shuffled = draw.permutation(self.num_images)  # neighbors in the split would share their luck otherwise
        chosen = np.searchsorted(np.cumsum(self.probabilities[shuffled]), places, side="right")
        return draw.permutation(shuffled[np.minimum(chosen, self.num_images - 1)])


@dataclass(frozen=True)
class _Batches:
    start: Callable[[], Iterator[list[Slot]]]

    def __iter__(self) -> Iterator[list[Slot]]:
        return self.start()


def train_loader(
    images: Split,
    num_classes: int,
    transform: TrainTransform,
    order: TrainOrder,
    first_step: int,
    last_step: int,
    workers: int = 0,
    pin_memory: bool = False,
    join: Join | None = None,
    cache: CachePlan | None = None,
    targets: Targets | None = None,
) -> DataLoader[ImageBatch]:
    """Return the micro-batches of steps `first_step` to `last_step` (not included) of this process.

    A resumed run starts in the middle of an epoch without reading what was.

    Args:
        images: the training images.
        num_classes: K, the width of the targets.
        transform: from an image to the network's input.
        order: order of the whole training.
        first_step: first optimizer step, from 0.
        last_step: end of the training.
        workers: loader processes; 0 loads in this one.
        pin_memory: put batches into page-locked memory, for a GPU.
        join: called in the worker with (image indices, epoch); what it returns becomes `batch.extra`.
        cache: where images are kept shrunk; None decodes each anew.
        targets: called in the worker with image indices; returns their targets, (B, K); None takes the labels.
    """
    dataset = _Images(images, num_classes, transform, cache)
    dataset.is_repeated, dataset.join, dataset.targets = order.repeats > 1, join, targets or dataset.targets
    return _loader(dataset, lambda: order.batches(first_step, last_step), workers, pin_memory)


def eval_loader(
    images: Split,
    num_classes: int,
    transform: EvalTransform,
    batch_size: int,
    workers: int = 0,
    pin_memory: bool = False,
    rank: int = 0,
    world_size: int = 1,
    cache: CachePlan | None = None,
) -> DataLoader[ImageBatch]:
    """Return every image of a split once, in order; of several processes `rank` gets every `world_size`-th image.

    `batch_size` counts the images in a batch of one process; for the others (`num_classes`, `workers` ...) see
    `train_loader`.
    """
    own = range(rank, len(images), world_size)

    def batches() -> Iterator[list[Slot]]:
        for start in range(0, len(own), batch_size):
            yield [Slot(0, 0, index, index) for index in own[start : start + batch_size]]

    return _loader(_Images(images, num_classes, transform, cache), batches, workers, pin_memory)


def _loader(
    dataset: _Images, batches: Callable[[], Iterator[list[Slot]]], workers: int, pin_memory: bool
) -> DataLoader[ImageBatch]:
    return DataLoader(
        dataset,
        batch_size=None,  # the dataset makes batches
        sampler=_Batches(batches),
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # else the loader draws its workers' seed from the global generator
    )


@dataclass(frozen=True)
class InputBatch:
    """The B images of a batch that were read, uint8, shape (B, 3, S, S); names of all, and why each was not, or ""."""

    images: Tensor
    names: list[str]
    reasons: list[str]


def input_batches(
    references: Sequence[ImageReference], transform: EvalTransform, batch_size: int, workers: int = 0
) -> Iterator[InputBatch]:
    """Yield images in their order, `batch_size` at a time, read by `workers` processes; unreadable ones are named."""
    yield from DataLoader(
        _Inputs(ImageReferences.of(references), transform),
        batch_size=batch_size,
        num_workers=min(workers, -(-len(references) // batch_size)),
        collate_fn=default_convert,
        generator=torch.Generator(),
    )


class _Inputs(Dataset[Any]):
    def __init__(self, references: ImageReferences, transform: EvalTransform) -> None:
        self._references, self._transform = references, transform

    def __len__(self) -> int:
        return len(self._references)

    def __getitems__(self, indices: Sequence[int]) -> InputBatch:
        references = [self._references[index] for index in indices]
        images: list[Tensor] = []
        reasons: list[str] = []
        for reference in references:
            try:
                images.append(self._transform(open_image(reference), 0, ""))
                reasons.append("")
            except UnreadableImageError as error:
                reasons.append(error.reason)
        together = torch.stack(images) if images else torch.empty(0, dtype=torch.uint8)
        return InputBatch(together, [reference.name for reference in references], reasons)
