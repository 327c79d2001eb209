"""The text side of a training: the vectors of each image, and the heads that align image features to them.

Shapes: N training images, B images of a batch, S descriptions of an image in a step, F width of a feature, D width of
the text vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from sightwords.align import OBJECTIVES, AlignmentHead, TargetTransform, class_means, fit_whitening
from sightwords.errors import ArtifactError, ConfigError
from sightwords.images.dataset import Split
from sightwords.images.seeds import derive_seed
from sightwords.models import Backbone
from sightwords.text.embedding_set import EmbeddingSet, TextRows
from sightwords.training.config import AlignConfig
from sightwords.training.mixing import TextTargets, TrainBatch

POOLED = "pooled"
WORDS_ENCODER = "builtin:words"
_CHUNK_ROWS = 8192


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

    def means(self, indices: np.ndarray) -> np.ndarray:
        """Return the mean vector of each described image at `indices`, float32, shape (B, D)."""
        return self.set.means(self.rows.of_images(indices))

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (image indices, vectors) of all descriptions, int64 (C,) and float32 (C, D), in order."""
        owners = self.rows.owners
        for start in range(0, len(owners), _CHUNK_ROWS):
            rows = self.rows.rows[start : start + _CHUNK_ROWS]
            yield owners[start : start + _CHUNK_ROWS], np.asarray(self.set.vectors[rows], np.float32)


class Alignment(nn.Module):
    """Alignment loss of a network's features with the vectors of one or several embedding sets.

    Args:
        heads: for each embedding set a mapping of what is aligned (`POOLED`, or a layer's path) to its head.
        encoder_weights: weight of each embedding set.
        layer_weight: weight of the mean over the layers, added to the pooled feature's loss.
    """

    def __init__(
        self, heads: list[dict[str, AlignmentHead]], encoder_weights: list[float], layer_weight: float
    ) -> None:
        super().__init__()
        self._heads = heads
        # registered in lists: a layer's path holds dots, which a module's name must not
        self.heads = nn.ModuleList(nn.ModuleList(of_set.values()) for of_set in heads)
        self.encoder_weights, self.layer_weight = encoder_weights, layer_weight

    def forward(self, features: Mapping[str, Tensor], batch: TrainBatch, label_BK: Tensor, pad_to: int) -> Tensor:
        """Return the alignment loss of the global batch, not yet weighted against the classification loss; scalar.

        Args:
            features: (B, F) of `POOLED` and of every layer.
            batch: its texts, and how its images are mixed.
            label_BK: class probabilities.
            pad_to: most images that a process can have.
        """
        total = features[POOLED].new_zeros((), dtype=torch.float32)
        for heads, weight, text in zip(self._heads, self.encoder_weights, batch.texts, strict=True):
            for source, head in heads.items():
                own = weight if source == POOLED else weight * self.layer_weight / (len(heads) - 1)
                loss = head(
                    features[source],
                    text.vectors,
                    text.weight,
                    label=label_BK,
                    partner_B=batch.partner,
                    lam=batch.lam,
                    pad_to=pad_to,
                )
                total = total + own * text.loss_weight * loss
        return total

    def pooled_heads(self) -> list[AlignmentHead]:
        """Return the head of the pooled feature for each embedding set."""
        return [heads[POOLED] for heads in self._heads]


def build_alignment(
    config: AlignConfig, backbone: Backbone, joins: list[TextJoin], images: Split, num_classes: int
) -> Alignment:
    """Return the heads that a training needs, with class means of the training images where the objective reads them.

    Raises:
        ConfigError: the objective does not fit the vectors.
    """
    norm: Literal["none", "batch"] = "none" if backbone.is_transformer else "batch"
    widths = {POOLED: backbone.num_features, **backbone.layer_widths}
    heads = []
    for join in joins:
        encoder = str(join.set.meta.get("encoder", ""))
        if config.loss == "tokens" and not encoder.startswith(WORDS_ENCODER):
            raise ConfigError(
                f"--align.loss tokens needs word counts, and {join.set.folder} holds vectors of {encoder}. "
                f"Make a set with: sightwords embed D.db --encoder {WORDS_ENCODER}"
            )
        means = _class_text(join, images, num_classes) if OBJECTIVES[config.loss].needs_class_text else None
        transform = _transform(config, join)
        heads.append(
            {
                source: AlignmentHead(
                    width,
                    join.set.dimension,
                    config.loss,
                    config.temperature,
                    config.projector,
                    norm,
                    learn_temperature=config.learn_temperature,
                    transform=deepcopy(transform),
                    class_text_KD=means,
                )
                for source, width in widths.items()
            }
        )
    return Alignment(heads, config.encoder_weights or [1.0] * len(joins), config.layer_weight)


def _transform(config: AlignConfig, join: TextJoin) -> TargetTransform | None:
    """Return what the vectors go through before anything else."""
    objective = OBJECTIVES[config.loss]
    if config.targets == "whitened":
        mean, matrix = fit_whitening(torch.from_numpy(vectors) for _, vectors in join.chunks())
        return TargetTransform(mean, matrix, normalize=objective.text_norm == 2)
    if config.targets == "centered" or objective.settings.get("center"):
        return TargetTransform(torch.from_numpy(np.array(join.set.mean)), normalize=objective.text_norm == 2)
    return None


def _class_text(join: TextJoin, images: Split, num_classes: int) -> Tensor:
    """Return the mean vector of each class's descriptions, float32, (K, D); labels of one image count equally."""
    single = torch.from_numpy(images.first_labels())

    def labels(owners: np.ndarray) -> Tensor:
        if not images.multi_label:
            return single[torch.from_numpy(owners)]
        found = torch.zeros(len(owners), num_classes)
        for row, owner in enumerate(owners.tolist()):
            found[row, images.labels(owner)] = 1
        return found / found.sum(1, keepdim=True).clamp(min=1)

    chunks = ((torch.from_numpy(vectors), labels(owners)) for owners, vectors in join.chunks())
    return class_means(chunks, num_classes)


def projector_tensors(alignment: Alignment) -> dict[str, Tensor]:
    """Return the pooled feature's projectors, with what the text vectors go through, by name."""
    tensors: dict[str, Tensor] = {}
    for number, head in enumerate(alignment.pooled_heads()):
        named = {f"projector.{name}": tensor for name, tensor in head.projector.state_dict().items()}
        named |= head.transform.state_dict() if head.transform is not None else {}
        tensors |= {f"{number}.{name}": tensor for name, tensor in named.items()}
    return tensors
