"""The text vectors of training images, joined by key; called in the loader's workers.

Shapes: N training images, R descriptions of them, B images of a batch, S descriptions of an image in a step, D width of
the text vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightwords.artifacts.embedding_set import EmbeddingSet
from sightwords.data.image_set import ImageSet
from sightwords.data.randomness import derive_seed
from sightwords.errors import ArtifactError
from sightwords.stages.train.config import AlignConfig

_CHUNK_ROWS = 8192


class TextJoin:
    """The vectors of one embedding set for each training image.

    Args:
        embeddings: folder of the embedding set.
        images: the training images.
        seed: seed of the run.
        config: which of several descriptions take part, and whether agreement weighs them.

    Attributes:
        num_described: training images with a description.
        num_texts: S, descriptions of an image in a step.

    Raises:
        ArtifactError: none of the images has a description in the set, or agreement is asked for and was not scored.
    """

    def __init__(self, embeddings: Path, images: ImageSet, seed: int, config: AlignConfig) -> None:
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
        self._weights = _agreement_weights(found.agreements, embeddings) if config.agreement else None

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


def _agreement_weights(agreements: np.ndarray, embeddings: Path) -> np.ndarray:
    """Return a weight for each description, float32, mean 1; what was not scored weighs 1, disagreement 0."""
    if np.isnan(agreements).all():
        raise ArtifactError(
            f"{embeddings} has no agreement scores. Describe with --agreement openclip:MODEL/PRETRAINED and embed "
            "again, or leave out --align.agreement."
        )
    positive = np.clip(agreements, 0, None)
    mean = float(np.nanmean(positive))
    if mean == 0:
        raise ArtifactError(f"No description in {embeddings} agrees with its image. Leave out --align.agreement.")
    weights: np.ndarray = np.nan_to_num(positive / mean, nan=1.0).astype(np.float32)
    return weights
