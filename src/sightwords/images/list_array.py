"""Rows of different lengths in two columns, as class indices are where an image may have none or several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """N rows of integers.

    Attributes:
        values: all rows one after another, shape (M,).
        starts: row i is values[starts[i] : starts[i + 1]], int64, shape (N + 1,).
    """

    values: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Iterable[int]]) -> Ragged:
        """Return the columns of rows given one by one, int64."""
        lists = [list(row) for row in rows]
        starts = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return cls(np.array([value for row in lists for value in row], np.int64), starts)

    @classmethod
    def singles(cls, values: np.ndarray) -> Ragged:
        """Return rows of one value each, from their values, shape (N,)."""
        return cls(values, np.arange(len(values) + 1))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        """Return row `index`, shape (its length,)."""
        return self.values[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """The number of values of every row, int64, shape (N,)."""
        return np.diff(self.starts)

    def take(self, indices: np.ndarray) -> Ragged:
        """Return the rows at `indices`, in that order."""
        if len(self.values) == len(self) and (self.lengths == 1).all():  # ten times faster, and what most data is
            return Ragged.singles(self.values[indices])
        lengths = self.lengths[indices]
        starts = np.concatenate(([0], np.cumsum(lengths)))
        shift = np.repeat(self.starts[:-1][indices] - starts[:-1], lengths)
        return Ragged(self.values[shift + np.arange(len(shift))], starts)
