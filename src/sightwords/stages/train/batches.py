"""Where image, label, key and vector meet: batches of training, joined by key, mixed, and on the device.

Shapes: B images of this process, K classes, C channels, H x W pixels, S descriptions of an image, D width of the text
vectors, E embedding sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sightwords.align import mix_weights
from sightwords.backbones import Backbone, normalize_images
from sightwords.data.config import AugmentConfig
from sightwords.data.loader import ImageBatch
from sightwords.stages.train.mixing import draw_mix, mix_images, mix_labels, partners


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
