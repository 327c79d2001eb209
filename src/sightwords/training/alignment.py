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
    """The vectors of one embedding set for each training image, joined by key.

    Args:
        embeddings: the embedding set.
        rows: its rows for each of the images, as `EmbeddingSet.rows_of` found them.
        images: the training images.
        seed: seed of the run.
        config: which of several descriptions are used, and whether their CLIP scores weight them.

    Attributes:
        num_described: training images with a description.
        num_texts: S, descriptions of an image in a step.

    Raises:
        ArtifactError: none of the images has a description in the set, or CLIP scores are wanted and were not stored.
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
        self._weights = _score_weights(rows.clip_scores, embeddings) if config.clip_score else None

    def __call__(self, indices: np.ndarray, epoch: int) -> TextTargets:
        """Return vectors and weights of the images at B indices, zeros where an image has no description.

        An image with fewer than S descriptions repeats them.
        """
        vectors = np.zeros((len(indices), self.num_texts, self.set.dimension), np.float32)
        weights = np.zeros(len(indices), np.float32)
        for place, index in enumerate(indices.tolist()):
            chosen = self._chosen(index, epoch)
            if len(chosen):
                vectors[place], weights[place] = self._read(chosen)
        joined = torch.from_numpy(vectors)
        return TextTargets(joined if self._mode == "all" else joined[:, 0], torch.from_numpy(weights))

    def _chosen(self, index: int, epoch: int) -> np.ndarray:
        """Return which descriptions an image takes part with, as positions in the rows."""
        own = np.arange(self.rows.starts[index], self.rows.starts[index + 1])
        if self._mode == "mean" or not len(own):
            return own
        first = 0
        if len(own) > self.num_texts:
            first = derive_seed("text", self._seed, epoch, self._images.key(index)) % len(own)
        return np.take(own, np.arange(first, first + self.num_texts), mode="wrap")

    def _read(self, chosen: np.ndarray) -> tuple[np.ndarray, float]:
        """Return vectors (S, D) and the image's weight."""
        vectors = np.asarray(self.set.vectors[self.rows.rows[chosen]], np.float32)
        weights = np.ones(len(chosen), np.float32) if self._weights is None else self._weights[chosen]
        if self._mode == "mean":
            total = max(float(weights.sum()), 1e-12)
            vectors = (weights @ vectors / total)[None]
        return vectors, float(weights.mean())

    def means(self, indices: np.ndarray) -> np.ndarray:
        """Return the mean vector of each described image at `indices`, float32, shape (B, D)."""
        return self.set.means(self.rows.of_images(indices))

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (image indices, vectors) of all descriptions, int64 (C,) and float32 (C, D), in order."""
        owners = self.rows.owners
        for start in range(0, len(owners), _CHUNK_ROWS):
            rows = self.rows.rows[start : start + _CHUNK_ROWS]
            yield owners[start : start + _CHUNK_ROWS], np.asarray(self.set.vectors[rows], np.float32)


def _score_weights(scores: np.ndarray, embeddings: EmbeddingSet) -> np.ndarray:
    """Return a weight for each description, float32, mean 1; without a score it is 1, with a negative score 0."""
    if np.isnan(scores).all():
        raise ArtifactError(
            f"{embeddings.folder} has no CLIP scores. Describe with --clip-score MODEL and embed again, or leave out "
            "--align.clip-score."
        )
    positive = np.clip(scores, 0, None)
    mean = float(np.nanmean(positive))
    if mean == 0:
        raise ArtifactError(
            f"No description in {embeddings.folder} has a CLIP score above 0. Leave out --align.clip-score."
        )
    weights: np.ndarray = np.nan_to_num(positive / mean, nan=1.0).astype(np.float32)
    return weights


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
        # a module's name must not hold a dot
        self._sources = [list(of_set) for of_set in heads]
        self.heads = nn.ModuleList(nn.ModuleList(of_set.values()) for of_set in heads)
        self.encoder_weights, self.layer_weight = encoder_weights, layer_weight

    def forward(self, features: Mapping[str, Tensor], batch: TrainBatch, label_BK: Tensor, pad_to: int) -> Tensor:
        """Return the alignment loss of the global batch, not yet weighted against the classification loss; scalar.

        Args:
            features: (B, F) of `POOLED` and of every layer.
            batch: its texts, and how its images are mixed.
            label_BK: class probabilities, for the objectives that read them.
            pad_to: most images that a process can have.
        """
        total = features[POOLED].new_zeros((), dtype=torch.float32)
        for sources, heads, weight, text in zip(
            self._sources, self.heads, self.encoder_weights, batch.texts, strict=True
        ):
            assert isinstance(heads, nn.ModuleList)
            for source, head in zip(sources, heads, strict=True):
                own = weight if source == POOLED else weight * self.layer_weight / (len(sources) - 1)
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
        found = []
        for sources, heads in zip(self._sources, self.heads, strict=True):
            assert isinstance(heads, nn.ModuleList)
            head = heads[sources.index(POOLED)]
            assert isinstance(head, AlignmentHead)
            found.append(head)
        return found


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
        _check_vectors(config, join)
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


def _check_vectors(config: AlignConfig, join: TextJoin) -> None:
    has_words = str(join.set.meta.get("encoder", "")).startswith(WORDS_ENCODER)
    if config.loss == "tokens" and not has_words:
        raise ConfigError(
            f"--align.loss tokens needs word counts, and {join.set.folder} holds vectors of "
            f"{join.set.meta['encoder']}. Make a set with: sightwords embed D.db --encoder {WORDS_ENCODER}"
        )


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
        probabilities = torch.zeros(len(owners), num_classes)
        for row, owner in enumerate(owners.tolist()):
            own = images.labels(owner)
            probabilities[row, torch.from_numpy(own)] = 1 / max(1, len(own))
        return probabilities

    chunks = ((torch.from_numpy(vectors), labels(owners)) for owners, vectors in join.chunks())
    return class_means(chunks, num_classes)


def projector_tensors(alignment: Alignment | None) -> dict[str, Tensor]:
    """Return the pooled feature's projectors, with what the text vectors go through, by name; none for a baseline."""
    tensors: dict[str, Tensor] = {}
    for number, head in enumerate(alignment.pooled_heads() if alignment is not None else []):
        named = {f"projector.{name}": tensor for name, tensor in head.projector.state_dict().items()}
        named |= head.transform.state_dict() if head.transform is not None else {}
        tensors |= {f"{number}.{name}": tensor for name, tensor in named.items()}
    return tensors
