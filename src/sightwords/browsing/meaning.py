"""Search by meaning: the images of an embedding set in the order of their texts' likeness to a sentence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from sightwords.errors import ConfigError
from sightwords.text.embedding_set import EmbeddingSet, all_products
from sightwords.text.encoders import Encoder, open_encoder

_MADE_OF_TEXTS = "builtin:words"


class Meaning:
    """An embedding set that can be searched; it may be used by several threads.

    Args:
        folder: the embedding set.

    Raises:
        ArtifactError: it is missing or damaged.
        ConfigError: its encoder cannot encode a sentence that it was not made with.
    """

    def __init__(self, folder: Path) -> None:
        self._set = EmbeddingSet(folder)
        self.encoder_id = str(self._set.meta["encoder"])
        if self.encoder_id.startswith(_MADE_OF_TEXTS):
            raise ConfigError(
                f"{folder} was made by {self.encoder_id}, which counts words and knows no meaning. Name a set of "
                "another encoder, or leave --embeddings out: words are found without it."
            )
        self._encoder: Encoder | None = None
        self._lock = threading.Lock()
        self._ranked = lru_cache(maxsize=8)(self._rank)
        self._row_of: np.ndarray | None = None
        self._key_of: np.ndarray | None = None

    def warm_up(self) -> None:
        """Load what the first search needs; loading an encoder takes seconds.

        Raises:
            MissingExtraError: the encoder's library is not installed.
            ModelError: the encoder cannot be had.
        """
        with self._lock:
            self._encoded("warm up")
            self._keys()

    def ranked(self, sentence: str) -> Iterator[tuple[str, float]]:
        """Yield the key of every image with its likeness to a sentence, a cosine; the most alike first, each once.

        Raises:
            MissingExtraError: the encoder's library is not installed.
            ModelError: the encoder cannot be had.
        """
        with self._lock:
            order, scores = self._ranked(sentence)
            rows, keys = self._keys()
        seen: set[bytes] = set()
        for row in order.tolist():
            start, end = np.searchsorted(rows, [row, row + 1]).tolist()
            for key in keys[start:end].tolist():
                if key not in seen:
                    seen.add(key)
                    yield key.decode(), float(scores[row])

    def _rank(self, sentence: str) -> tuple[np.ndarray, np.ndarray]:
        """Return rows in the order of likeness, int64, shape (R,), and the likeness of every row, float32, (R,)."""
        scores = all_products(self._set.vectors, self._encoded(sentence))
        return np.argsort(-scores, kind="stable"), scores

    def _encoded(self, sentence: str) -> np.ndarray:
        if self._encoder is None:
            self._encoder = open_encoder(self.encoder_id, "cpu", "fp32")
        vector = np.asarray(self._encoder.encode([sentence])[0], np.float32)
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    def _keys(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of all descriptions, rising, int64, shape (N,), and the images' keys in that order."""
        if self._row_of is None or self._key_of is None:
            table = self._set.index().select(["key", "row"])
            rows = table["row"].to_numpy()
            order = np.argsort(rows, kind="stable")
            self._row_of = rows[order]
            self._key_of = np.array(table["key"].to_pylist(), "S64")[order]
        return self._row_of, self._key_of
