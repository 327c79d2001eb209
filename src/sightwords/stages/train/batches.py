"""Where image, label, key and vector meet: batches of training, joined by key, mixed, and on the device.

Shapes: B images of this process, K classes, C channels, H x W pixels, D width of the text vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightwords.align import mix_targets
from sightwords.artefacts.embedding_set import EmbeddingSet
from sightwords.backbones import Backbone, normalize_images
from sightwords.data.catalog import ImageSet
from sightwords.data.config import AugmentConfig
from sightwords.data.loader import ImageBatch
from sightwords.data.randomness import derive_seed
from sightwords.errors import ArtefactError
from sightwords.stages.train.mixing import draw_mix, mix_images, mix_labels, partners


class TextJoin:
    """The text vectors of training images, joined by key; called in the loader's workers.

    Of several descriptions of an image one is drawn, a function of (seed, epoch, key).

    Args:
        embeddings: folder of the embedding set.
        images: the training images.
        seed: seed of the run.

    Raises:
        ArtefactError: none of the images has a description in the set.
    """

    def __init__(self, embeddings: Path, images: ImageSet, seed: int) -> None:
        self._set, self._images, self._seed = EmbeddingSet(embeddings), images, seed
        self._rows = self._set.rows_of(images.keys())
        self.num_described = int((self._rows.num_texts > 0).sum())
        if not self.num_described:
            raise ArtefactError(
                f"None of the {len(images)} training images has a description in {embeddings}. "
                "Was it made from these images? Describe them with: sightwords describe IMAGES"
            )

    @property
    def dimension(self) -> int:
        """Width D of the vectors."""
        return self._set.dimension

    def __call__(self, indices: np.ndarray, epoch: int) -> dict[str, Tensor]:
        """Return `text` (float32, (B, D), zeros without a description) and `text_weight` (float32, (B,), 1 or 0)."""
        vectors = np.zeros((len(indices), self.dimension), np.float32)
        weights = np.zeros(len(indices), np.float32)
        for place, index in enumerate(indices.tolist()):
            first, end = self._rows.starts[index], self._rows.starts[index + 1]
            if end > first:
                chosen = first + self._choice(index, epoch, int(end - first))
                vectors[place] = self._set.vectors[self._rows.rows[chosen]]
                weights[place] = 1.0
        return {"text": torch.from_numpy(vectors), "text_weight": torch.from_numpy(weights)}

    def _choice(self, index: int, epoch: int, num_texts: int) -> int:
        if num_texts == 1:
            return 0
        return derive_seed("text", self._seed, epoch, self._images.key(index)) % num_texts


@dataclass
class TrainBatch:
    """What a training step takes, on the device.

    Attributes:
        images: normalised, float32, shape (B, C, H, W).
        targets: float32, shape (B, K).
        text: text vectors, float32, shape (B, D), or None for the baseline.
        text_weight: 0 where an image has no description, float32, shape (B,), or None for the baseline.
    """

    images: Tensor
    targets: Tensor
    text: Tensor | None
    text_weight: Tensor | None


class BatchMaker:
    """Moves batches to the device, normalises and mixes them there.

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
        """Return the normalised images on the device, float32, shape (B, C, H, W)."""
        images = batch.images.to(self._device, non_blocking=True).contiguous(memory_format=self._format)
        return normalize_images(images, self._spec.mean, self._spec.std)

    def __call__(self, batch: ImageBatch) -> TrainBatch:
        """Return the batch ready for the step."""
        images, targets = self.images(batch), batch.targets.to(self._device, non_blocking=True)
        text, weight = (self._extra(batch, name) for name in ("text", "text_weight"))
        mix = draw_mix(self._augment, self._seed, batch.step, images.shape[-1])
        if mix is not None:
            partner = partners(batch.positions).to(self._device, non_blocking=True)
            images, targets = mix_images(images, partner, mix), mix_labels(targets, partner, mix.share)
            if text is not None and weight is not None:
                text, weight = mix_targets(text, weight, partner, mix.share)
        return TrainBatch(images, targets, text, weight)

    def _extra(self, batch: ImageBatch, name: str) -> Tensor | None:
        tensor = batch.extra.get(name)
        return None if tensor is None else tensor.to(self._device, non_blocking=True)
