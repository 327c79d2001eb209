"""Where vectors are kept while they are made: in memory, or as `work_folder.py` does."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sightwords.stages.embed.plan import Counts


class Store(Protocol):
    """Takes the vectors of batches and blocks, and knows which it has."""

    vectors: np.ndarray

    def block(self, number: int) -> Counts | None:
        """Return what became of a block's texts if all its vectors are here, else None."""

    def has(self, block: int, batch: int, rows: np.ndarray) -> bool:
        """Return whether the vectors of a batch are here."""

    def put(self, block: int, batch: int, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Keep the vectors of a batch."""

    def finish(self, block: int, counts: Counts) -> None:
        """Note that all batches of a block are here."""


class MemoryStore:
    """Vectors in memory.

    Args:
        num_texts: R.
        dimension: D.
    """

    def __init__(self, num_texts: int, dimension: int) -> None:
        self.vectors: np.ndarray = np.zeros((num_texts, dimension), np.float16)

    def block(self, number: int) -> Counts | None:
        """Return None: nothing was here before."""
        return None

    def has(self, block: int, batch: int, rows: np.ndarray) -> bool:
        """Return False: nothing was here before."""
        return False

    def put(self, block: int, batch: int, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Keep the vectors of a batch."""
        self.vectors[rows] = vectors

    def finish(self, block: int, counts: Counts) -> None:
        """Do nothing."""
