"""Where images lie in a run's text space, kept on disk: computed once, mapped ever after, never half written.

The files grow at their ends. A row counts once its key is written, which happens after its vector is on the disk; what
a kill left behind the last whole row is overwritten. `vectors.npy` opens with NumPy like any other file: its header has
room for the number of rows to grow.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightwords.errors import ArtifactError
from sightwords.files import write_text

KEY_BYTES = 32
_VECTOR_TYPE = np.dtype("<f2")


class FeatureIndex:
    """Vectors of images by key; of one network, one projector and one way to feed it.

    Args:
        folder: where it is, or comes to be.
        dimension: width D of the vectors.
        identity: what the vectors depend on; an index of anything else is begun anew.

    Raises:
        ArtifactError: the folder holds something else.
    """

    def __init__(self, folder: Path, dimension: int, identity: dict[str, Any]) -> None:
        self.folder, self.dimension = Path(folder), dimension
        self._vectors, self._keys = self.folder / "vectors.npy", self.folder / "keys.bin"
        self._row_bytes = dimension * _VECTOR_TYPE.itemsize
        facts = {"dimension": dimension, **identity}
        if self._facts() != facts:
            self._begin(facts)
        self._num_rows = self._whole_rows()

    def __len__(self) -> int:
        return self._num_rows

    @property
    def vectors(self) -> np.ndarray:
        """Unit vectors, float16, (N, D), mapped."""
        if not self._num_rows:
            return np.empty((0, self.dimension), np.float16)
        start = len(_header(0, self.dimension))
        return np.memmap(self._vectors, _VECTOR_TYPE, "r", start, (self._num_rows, self.dimension))

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the row of each key, int64, (M,), -1 where there is none.

        Args:
            keys: in bytes, uint8, (M, 32).
        """
        own = np.fromfile(self._keys, np.uint8, self._num_rows * KEY_BYTES)
        found = pc.index_in(_arrow(keys), value_set=_arrow(own.reshape(-1, KEY_BYTES)))
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int64)

    def append(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Add rows, and return once they are on the disk.

        Args:
            keys: in bytes, uint8, (M, 32).
            vectors: float32, (M, D), unit length.
        """
        start = len(_header(0, self.dimension)) + self._num_rows * self._row_bytes
        rows = self._num_rows + len(keys)
        _write_at(self._vectors, start, vectors.astype(_VECTOR_TYPE).tobytes())
        _write_at(self._keys, self._num_rows * KEY_BYTES, keys.tobytes())
        _write_at(self._vectors, 0, _header(rows, self.dimension))
        self._num_rows = rows

    def _facts(self) -> dict[str, Any] | None:
        try:
            return dict(json.loads((self.folder / "index.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def _begin(self, facts: dict[str, Any]) -> None:
        names = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        if foreign := names - {"vectors.npy", "keys.bin", "index.json"}:
            raise ArtifactError(f"{self.folder} is no index of images (see {min(foreign)}). Name another with --index.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keys.write_bytes(b"")  # first: without keys, no vector counts
        self._vectors.write_bytes(_header(0, self.dimension))
        write_text(self.folder / "index.json", json.dumps(facts, indent=2) + "\n")

    def _whole_rows(self) -> int:
        room = self._vectors.stat().st_size - len(_header(0, self.dimension))
        return max(0, min(self._keys.stat().st_size // KEY_BYTES, room // self._row_bytes))


def _header(num_rows: int, dimension: int) -> bytes:
    """Return the head of a file of NumPy; it is equally long for any number of rows."""
    import io

    head = io.BytesIO()
    facts = {"descr": _VECTOR_TYPE.str, "fortran_order": False, "shape": (num_rows, dimension)}
    np.lib.format.write_array_header_1_0(head, facts)
    return head.getvalue()


def _write_at(path: Path, start: int, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, start)
            view, start = view[written:], start + written
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _arrow(keys: np.ndarray) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(KEY_BYTES), len(keys), [None, pa.py_buffer(np.ascontiguousarray(keys))])
