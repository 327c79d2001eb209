"""A run's network and projector at work: images to classes and features, images and sentences to one space.

Shapes: B images, F width of the feature, D width of the text vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sightwords.align import TargetTransform, build_projector, normalize_targets
from sightwords.errors import ArtifactError, ConfigError
from sightwords.hub import choose_device
from sightwords.images.dataset import Split
from sightwords.images.loader import ImageBatch, eval_loader
from sightwords.images.transforms import EvalTransform, InputSize
from sightwords.models import Backbone, build_backbone, normalize_images
from sightwords.models.run_folder import NetworkInfo, ProjectorInfo, RunFolder, TextSpace, load_projectors
from sightwords.progress import Progress
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.text.encoders import reopen_encoder


@dataclass(frozen=True)
class Prediction:
    """A class that an image may show.

    Attributes:
        class_id: as the training data has it.
        class_name: readable.
        probability: in [0, 1]; with several labels an image, the classes need not add up to 1.
    """

    class_id: str
    class_name: str
    probability: float


def top_predictions(info: NetworkInfo, logits_BK: Tensor, count: int) -> list[list[Prediction]]:
    """Return the `count` most probable classes of each image, the most probable first, of outputs (B, K)."""
    logits = logits_BK.float().cpu()
    probabilities = logits.sigmoid() if info.multi_label else logits.softmax(1)
    values, classes = probabilities.topk(min(count, info.num_classes))
    return [
        [Prediction(info.class_ids[i], info.class_names[i], value) for value, i in zip(*row, strict=True)]
        for row in zip(values.tolist(), classes.tolist(), strict=True)
    ]


def eval_transform(info: NetworkInfo) -> EvalTransform:
    """Return what turns an image into the network's input, before it is normalized."""
    return EvalTransform(InputSize(info.image_size, info.interpolation, info.crop_pct))


def rebuild(info: NetworkInfo, weights: Mapping[str, Tensor]) -> Backbone:
    """Return a trained network, on the CPU; `weights` are those of the plain network.

    Raises:
        ArtifactError: the weights are not of this network.
    """
    backbone = build_backbone(info.model, info.num_classes, info.image_size, **info.model_kwargs)
    try:
        backbone.load_weights(weights)
    except RuntimeError as error:
        raise ArtifactError(f"The weights do not fit {info.model}: {error}") from None
    return backbone


@dataclass(frozen=True)
class Output:
    """What a network gives for a batch.

    Attributes:
        batch: the batch, on the CPU; its B images are those that could be read.
        features: on the network's device, float32, (B, F).
        logits: on the network's device, float32, (B, K).
    """

    batch: ImageBatch
    features: Tensor
    logits: Tensor


class TrainedNetwork:
    """The plain network of a run, in eval mode.

    The feature is the pooled output of the module `features`, or what the classifier reads.

    Raises:
        ArtifactError: this is not a run, or not a finished one.
        ConfigError: there is no such device.
    """

    def __init__(self, folder: RunFolder, device: str = "auto", features: str | None = None) -> None:
        self.info: NetworkInfo = folder.network()
        weights = folder.load_weights()
        self.device = choose_device(device)
        self._backbone = rebuild(self.info, weights).take(features).to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, F) and logits (B, K) of uint8 images (B, 3, S, S), float32, on the network's device."""
        pixels = normalize_images(images_BCHW.to(self.device, non_blocking=True), self.info.mean, self.info.std)
        features, logits = self._backbone(pixels)
        return features.float(), logits.float()

    def infer(
        self,
        images: Split,
        batch_size: int,
        workers: int,
        title: str,
        *,
        num_classes: int | None = None,
        show: bool = True,
    ) -> Iterator[Output]:
        """Yield the network's outputs for all images, in order.

        `title` and `show` are of the progress; `num_classes` is the width of the batches' targets, None ignores labels.
        """
        images = images.unlabeled() if num_classes is None else images
        transform, pin = eval_transform(self.info), self.device.type == "cuda"
        loader = eval_loader(images, num_classes or 0, transform, batch_size, workers, pin_memory=pin)
        with Progress(title, len(images), "images", enabled=show) as progress:
            for batch in loader:
                yield Output(batch, *self(batch.images))
                progress.advance(len(batch.indices) + len(batch.unreadable))


class Projection:
    """The projector of a run into the space of one of its embedding sets.

    Its tensors are `projector.*`, and `mean` and `matrix` where there are any.

    Raises:
        ArtifactError: the weights do not fit.
    """

    def __init__(self, info: ProjectorInfo, space: TextSpace, tensors: dict[str, Tensor]) -> None:
        self.info, self.space = info, space
        self._projector = build_projector(space.kind, space.in_features, space.out_features, space.norm).eval()
        own = {name.removeprefix("projector."): t for name, t in tensors.items() if name.startswith("projector.")}
        try:
            self._projector.load_state_dict(own)
        except RuntimeError as error:
            raise ArtifactError(f"The run's projector does not fit what projector.json says: {error}") from None
        self._transform = TargetTransform(tensors.get("mean"), tensors.get("matrix"))

    @torch.inference_mode()
    def of_images(self, features_BF: Tensor) -> Tensor:
        """Return where images lie in the text's space, unit length, float32, (B, D), on the features' device."""
        return normalize_targets(self._projector.to(features_BF.device)(features_BF))

    @torch.inference_mode()
    def of_texts(self, vectors_BD: Tensor) -> Tensor:
        """Return text vectors of unit length as the training saw them: as they are, less their mean, or whitened."""
        return torch.as_tensor(self._transform(vectors_BD))

    def of_sentence(self, sentence: str, device: str = "auto") -> np.ndarray:
        """Return where a sentence lies, float32, (1, D), unit length.

        Raises:
            ConfigError: it is empty, or longer than the encoder takes.
            ModelError: the encoder cannot be had, or its weights are not those of the training.
        """
        if not sentence.strip():
            raise ConfigError("The sentence to search for is empty.")
        encoder = reopen_encoder(self.space.encoder, self.space.revision, self.space.words, device)
        length, limit = encoder.num_tokens([sentence])[0], encoder.info.max_tokens
        if limit is not None and length > limit:
            raise ConfigError(f"The sentence has {length} tokens; {self.space.encoder} takes {limit}. Shorten it.")
        encoded = normalize_targets(torch.from_numpy(encoder.encode([sentence])))
        vector = np.array(self.of_texts(encoded), np.float32)
        if not vector.any():
            raise ConfigError(f"{self.space.encoder} knows none of the words of {sentence!r}. Use other words.")
        return vector

    def check_set(self, embeddings: EmbeddingSet) -> None:
        """Refuse an embedding set whose vectors are of another encoder than the one of the run.

        Raises:
            ArtifactError: it is another one.
        """
        found = str(embeddings.meta.get("encoder", "")), str(embeddings.meta.get("revision", ""))
        if found != (self.space.encoder, self.space.revision) or embeddings.dimension != self.space.out_features:
            raise ArtifactError(
                f"{embeddings.folder} holds vectors of {found[0]} (weights {found[1][:12] or 'unknown'}), but the run "
                f"was trained with {self.space.encoder} (weights {self.space.revision[:12] or 'unknown'}). Name the "
                "set that it was trained with by --embeddings."
            )


def open_projection(folder: RunFolder, number: int = 1) -> Projection:
    """Return the projector of a run into the space of its `number`-th embedding set, from 1.

    Raises:
        ArtifactError: the run keeps none; the message says why.
        ConfigError: it was trained with fewer sets.
    """
    info, tensors = load_projectors(folder)
    if not 1 <= number <= len(info.spaces):
        raise ConfigError(f"--space is {number}; {folder.folder} has {len(info.spaces)} text spaces, from 1.")
    lead = f"{number - 1}."
    own = {name.removeprefix(lead): tensor for name, tensor in tensors.items() if name.startswith(lead)}
    return Projection(info, info.spaces[number - 1], own)
