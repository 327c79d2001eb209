"""The text vector of each image, for a training loop of one's own.

Shapes: N images, B of them, D width of the text vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sightwords.artifacts.embedding_set import EmbeddingSet
from sightwords.errors import ArtifactError

Array = np.ndarray


class TextVectors:
    """The text vectors of N images, looked up by position: what `sightwords.align.AlignmentHead` takes.

    The set's file is mapped, not read, so an object costs a few bytes an image, and each worker of a data loader may
    have its own. An image with several descriptions has their mean (over what the set holds, all prompts and samples).

    Example:
        >>> files = ["photos/train/cat/1.jpg", "photos/train/dog/1.jpg"]
        >>> texts = sightwords.TextVectors("embeddings", sightwords.image_keys(files))  # doctest: +SKIP
        >>> vector_D, weight = texts[1]  # of one image  # doctest: +SKIP
        >>> vectors_BD, weight_B = texts[[1, 0]]  # of a batch  # doctest: +SKIP

    Args:
        embeddings: folder that `sightwords embed` wrote.
        keys: key of each image, see `sightwords.image_keys`.

    Attributes:
        num_described: images that have a description.

    Raises:
        ArtifactError: the folder holds no embedding set, or none of the images has a description in it.
    """

    def __init__(self, embeddings: Path | str, keys: Sequence[str]) -> None:
        self._set = EmbeddingSet(Path(embeddings))
        self._rows = self._set.rows_of(keys)
        self.num_described = int((self._rows.num_texts > 0).sum())
        if not self.num_described:
            raise ArtifactError(
                f"None of the {len(keys)} images has a description in {embeddings}. "
                "Was it made from these images? Describe them with: sightwords describe IMAGES"
            )

    @property
    def dimension(self) -> int:
        """Width D of the vectors."""
        return self._set.dimension

    def __len__(self) -> int:
        return len(self._rows.starts) - 1

    def __getitem__(self, positions: int | Sequence[int] | slice | Array) -> tuple[Array, Array]:
        """Return vectors and weights of the images at these positions.

        Args:
            positions: one position, or B of them (list, array of integers, or slice).

        Returns:
            Vectors, float32, shape (D,) or (B, D), and weights, float32, shape () or (B,): 1, or 0 where an image has
            no description; its vector is zeros.

        Raises:
            IndexError: there is no image at a position.
        """
        chosen = np.arange(len(self))[positions]
        vectors = np.zeros((chosen.size, self.dimension), np.float32)
        weights = np.zeros(chosen.size, np.float32)
        for place, position in enumerate(chosen.ravel().tolist()):
            rows = self._rows.rows[self._rows.starts[position] : self._rows.starts[position + 1]]
            if len(rows):
                vectors[place] = self._set.vectors[rows].astype(np.float32).mean(0)
                weights[place] = 1
        return vectors.reshape(*chosen.shape, self.dimension), weights.reshape(chosen.shape)
