"""Where image, label, key and vector meet: batches of training, joined by key, mixed, and on the device.

Shapes: B images of this process, K classes, C channels, H x W pixels, S descriptions of an image, D width of the text
vectors, E embedding sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightwords.align import mix_weights
from sightwords.errors import ArtifactError
from sightwords.images.config import AugmentConfig
from sightwords.images.dataset import Split
from sightwords.images.loader import ImageBatch
from sightwords.images.seeds import derive_seed
from sightwords.models import Backbone, normalize_images
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.training.config import AlignConfig
from sightwords.training.mixing import draw_mix, mix_images, mix_labels, partners

_CHUNK_ROWS = 8192


class TextJoin:
    """The vectors of one embedding set for each training image.

    Args:
        embeddings: folder of the embedding set.
        images: the training images.
        seed: seed of the run.
        config: which of several descriptions take part, and whether CLIP scores weigh them.

    Attributes:
        num_described: training images with a description.
        num_texts: S, descriptions of an image in a step.

    Raises:
        ArtifactError: none of the images has a description in the set, or CLIP scores are asked for and there are none.
    """

    def __init__(self, embeddings: Path, images: Split, seed: int, config: AlignConfig) -> None:
        self.set = EmbeddingSet(embeddings)
        self._images, self._seed, self._mode = images, seed, config.descriptions
        found = self.set.rows_of(images.keys())
        self._starts, self._rows, counts = found.starts, found.rows, found.num_texts
        self.num_described = int((counts > 0).sum())
        if not self.num_described:
            raise ArtifactError(
                f"None of the {len(images)} training images has a description in {embeddings}. "
                "Was it made from these images? Describe them with: sightwords describe IMAGES"
            )
        self.num_texts = min(config.max_descriptions, int(counts.max())) if self._mode == "all" else 1
        self._weights = _clip_score_weights(found.clip_scores, embeddings) if config.clip_score else None

    @property
    def dimension(self) -> int:
        """Width D of the vectors."""
        return self.set.dimension

    def __call__(self, indices: np.ndarray, epoch: int) -> tuple[Tensor, Tensor]:
        """Return vectors (float32, (B, D), or (B, S, D) with `all`) and weights (float32, (B,)).

        Vectors are zeros, and the weight is 0, where an image has no description. An image with fewer than S
        descriptions repeats them.
        """
        vectors = np.zeros((len(indices), self.num_texts, self.dimension), np.float32)
        weights = np.zeros(len(indices), np.float32)
        for place, index in enumerate(indices.tolist()):
            chosen = self._chosen(index, epoch)
            if len(chosen):
                vectors[place], weights[place] = self._read(chosen)
        joined = torch.from_numpy(vectors)
        return joined if self._mode == "all" else joined[:, 0], torch.from_numpy(weights)

    def _chosen(self, index: int, epoch: int) -> np.ndarray:
        """Return which descriptions an image takes part with, as places in the rows."""
        own = np.arange(self._starts[index], self._starts[index + 1])
        if self._mode == "mean" or not len(own):
            return own
        first = 0
        if len(own) > self.num_texts:
            first = derive_seed("text", self._seed, epoch, self._images.key(index)) % len(own)
        return np.take(own, np.arange(first, first + self.num_texts), mode="wrap")

    def _read(self, chosen: np.ndarray) -> tuple[np.ndarray, float]:
        """Return vectors (S, D) and the image's weight."""
        vectors = np.asarray(self.set.vectors[self._rows[chosen]], np.float32)
        weights = np.ones(len(chosen), np.float32) if self._weights is None else self._weights[chosen]
        if self._mode == "mean":
            total = max(float(weights.sum()), 1e-12)
            vectors = (weights @ vectors / total)[None]
        return vectors, float(weights.mean())

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (image indices, vectors) of all descriptions, int64 (C,) and float32 (C, D), in order."""
        owners = np.repeat(np.arange(len(self._images)), np.diff(self._starts))
        for start in range(0, len(owners), _CHUNK_ROWS):
            rows = self._rows[start : start + _CHUNK_ROWS]
            yield owners[start : start + _CHUNK_ROWS], np.asarray(self.set.vectors[rows], np.float32)


class TextJoins:
    """Several embedding sets side by side, as the loader's `join`.

    Args:
        joins: one for each embedding set.
    """

    def __init__(self, joins: list[TextJoin]) -> None:
        self.joins = joins

    def __call__(self, indices: np.ndarray, epoch: int) -> dict[str, Tensor]:
        """Return `text0`, `weight0`, `text1`, ... of a batch, see `TextJoin`."""
        extra: dict[str, Tensor] = {}
        for number, join in enumerate(self.joins):
            extra[f"text{number}"], extra[f"weight{number}"] = join(indices, epoch)
        return extra


def _clip_score_weights(clip_scores: np.ndarray, embeddings: Path) -> np.ndarray:
    """Return a weight for each description, float32, mean 1; what was not scored weighs 1, a negative score 0."""
    if np.isnan(clip_scores).all():
        raise ArtifactError(
            f"{embeddings} has no CLIP scores. Describe with --clip-score openclip:MODEL/PRETRAINED and embed "
            "again, or leave out --align.clip-score."
        )
    positive = np.clip(clip_scores, 0, None)
    mean = float(np.nanmean(positive))
    if mean == 0:
        raise ArtifactError(f"No description in {embeddings} agrees with its image. Leave out --align.clip-score.")
    weights: np.ndarray = np.nan_to_num(positive / mean, nan=1.0).astype(np.float32)
    return weights


@dataclass
class TextTargets:
    """The descriptions of a batch's images in one encoder's space, not yet mixed.

    Attributes:
        vectors: float32, shape (B, D), or (B, S, D) for several descriptions of each image.
        weight: 0 where an image has no description, float32, shape (B,).
        portion: this micro-batch's part of the whole step's weight, over all processes.
    """

    vectors: Tensor
    weight: Tensor
    portion: Tensor | float = 1.0


@dataclass
class TrainBatch:
    """What a training step takes, on the device.

    Attributes:
        images: normalized and mixed, float32, shape (B, C, H, W).
        targets: mixed, float32, shape (B, K).
        texts: one of each embedding set; none for the baseline.
        partner: row that each image is mixed with, int64, shape (B,), or None.
        share: what each image keeps of itself.
        portion: this micro-batch's part of the whole step's images, over all processes.
    """

    images: Tensor
    targets: Tensor
    texts: tuple[TextTargets, ...] = ()
    partner: Tensor | None = None
    share: float | None = None
    portion: Tensor | float = 1.0


class BatchMaker:
    """Moves batches to the device, normalizes and mixes them there.

    Args:
        backbone: says mean and standard deviation.
        augment: mixup and cutmix.
        seed: seed of the run.
        device: where to.
        channels_last: memory format of the images.
    """

    def __init__(
        self, backbone: Backbone, augment: AugmentConfig, seed: int, device: torch.device, channels_last: bool
    ) -> None:
        self._augment, self._seed, self._device = augment, seed, device
        self._spec = backbone.input_spec
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def images(self, batch: ImageBatch) -> Tensor:
        """Return the normalized images on the device, float32, shape (B, C, H, W)."""
        images = batch.images.to(self._device, non_blocking=True).contiguous(memory_format=self._format)
        return normalize_images(images, self._spec.mean, self._spec.std)

    def __call__(self, batch: ImageBatch) -> TrainBatch:
        """Return the batch ready for the step; text is mixed by the heads, with the same partner and share."""
        images, targets = self.images(batch), batch.targets.to(self._device, non_blocking=True)
        texts = tuple(TextTargets(*pair) for pair in self._texts(batch))
        mix = draw_mix(self._augment, self._seed, batch.step, images.shape[-1])
        if mix is None:
            return TrainBatch(images, targets, texts)
        partner = partners(batch.positions).to(self._device, non_blocking=True)
        images, targets = mix_images(images, partner, mix), mix_labels(targets, partner, mix.share)
        return TrainBatch(images, targets, texts, partner, mix.share)

    def sizes(self, batch: ImageBatch) -> Tensor:
        """Return the number of images, and the weight of each embedding set's texts once mixed; float32, (1 + E,)."""
        mix = draw_mix(self._augment, self._seed, batch.step, batch.images.shape[-1])
        weights = [batch.extra[f"weight{number}"] for number in range(_num_texts(batch))]
        if mix is not None:
            partner = partners(batch.positions)
            weights = [mix_weights(weight, partner, mix.share) for weight in weights]
        return torch.tensor([len(batch.indices), *(float(weight.sum()) for weight in weights)])

    def _texts(self, batch: ImageBatch) -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(_num_texts(batch)):
            vectors, weight = batch.extra[f"text{number}"], batch.extra[f"weight{number}"]
            yield vectors.to(self._device, non_blocking=True), weight.to(self._device, non_blocking=True)


def _num_texts(batch: ImageBatch) -> int:
    return sum(name.startswith("text") for name in batch.extra)
