"""The network of a run, and one pass of it over images.

Shapes: B images of a batch, F width of the feature, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sightwords.artifacts.run_folder import NetworkInfo, RunFolder
from sightwords.backbones import Backbone, build_backbone, choose_device, normalize_images
from sightwords.data.augment import EvalTransform, InputSize
from sightwords.data.image_set import ImageSet
from sightwords.data.loader import eval_loader
from sightwords.errors import ArtifactError
from sightwords.progress import Progress


@dataclass(frozen=True)
class Seen:
    """What the network says of a batch.

    Attributes:
        features: on the network's device, float32, (B, F).
        logits: on the network's device, float32, (B, K).
        indices: of the images in their set, int64, (B,), on the CPU.
        unreadable: names and reasons of images of the batch that are not among the B.
    """

    features: Tensor
    logits: Tensor
    indices: Tensor
    unreadable: list[str]


def rebuild(info: NetworkInfo, weights: Mapping[str, Tensor]) -> Backbone:
    """Return a trained network, on the CPU.

    Args:
        info: what it is.
        weights: parameters and buffers by name, of the plain network.

    Raises:
        ArtifactError: the weights are not of this network.
    """
    backbone = build_backbone(info.model, info.num_classes, info.image_size, **info.model_kwargs)
    try:
        backbone.load_weights(weights)
    except RuntimeError as error:
        raise ArtifactError(f"The weights do not fit {info.model}: {error}") from None
    return backbone


class TrainedNetwork:
    """The plain network of a run, in eval mode.

    Args:
        folder: the run.
        device: `auto`, `cpu`, `cuda` or as torch names it.
        features: module whose pooled output is the feature; None takes what the classifier reads.

    Attributes:
        info: what the network is and how it is fed.
        device: where it is.

    Raises:
        ArtifactError: this is no run, or an unfinished one.
        ConfigError: there is no such device.
    """

    def __init__(self, folder: RunFolder, device: str = "auto", features: str | None = None) -> None:
        self.info: NetworkInfo = folder.network()
        weights = folder.load_weights()
        self.device = choose_device(device)
        self._backbone = rebuild(self.info, weights).take(features).to(self.device).eval()

    def see(self, images: ImageSet, batch_size: int, workers: int, title: str, show: bool = True) -> Iterator[Seen]:
        """Yield what the network says of all images, in order.

        Args:
            images: the images; their labels are not looked at.
            batch_size: images in a batch.
            workers: loader processes.
            title: of the progress.
            show: whether to show it.
        """
        info, spec = self.info, self._backbone.input_spec
        transform = EvalTransform(InputSize(info.image_size, info.interpolation, info.crop_pct))
        loader = eval_loader(images.unlabeled(), 0, transform, batch_size, workers, self.device.type == "cuda")
        with Progress(title, len(images), "images", enabled=show) as progress:
            for batch in loader:
                with torch.inference_mode():
                    pixels = normalize_images(batch.images.to(self.device, non_blocking=True), spec.mean, spec.std)
                    features, logits = self._backbone(pixels)
                yield Seen(features.float(), logits.float(), batch.indices, batch.unreadable)
                progress.advance(len(batch.indices) + len(batch.unreadable))
