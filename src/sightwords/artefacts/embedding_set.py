"""The embedding set: a folder of text vectors that a training process maps and never copies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sightwords.errors import ArtefactError
from sightwords.files import atomic_path, write_text

FORMAT_VERSION = 1
ENTRIES = {"vectors.npy", "mean.npy", "index.parquet", "meta.json"}
INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("prompt", pa.dictionary(pa.int32(), pa.string())),
        ("describer", pa.dictionary(pa.int32(), pa.string())),
        ("sample", pa.int32()),
        ("row", pa.int64()),
        ("agreement", pa.float32()),  # of image and text, null where it was not scored
    ]
)


@dataclass(frozen=True)
class TextRows:
    """Which vectors belong to each of N images: rows[starts[i]:starts[i + 1]].

    Attributes:
        starts: int64, shape (N + 1,).
        rows: rows of the vectors, int64, shape (R,).
        agreements: of each description and its image, float32, shape (R,), NaN where it was not scored.
    """

    starts: np.ndarray
    rows: np.ndarray
    agreements: np.ndarray

    @property
    def num_texts(self) -> np.ndarray:
        """Number of descriptions of each image, int64, shape (N,)."""
        return np.diff(self.starts)


def check_replaceable(folder: Path) -> None:
    """Refuse a place that holds anything but an embedding set: what is there is replaced as a whole.

    Raises:
        ArtefactError: it is a file, or a folder with other entries.
    """
    if folder.exists() and not folder.is_dir():
        raise ArtefactError(f"{folder} is a file. Name another place for the embedding set with --out.")
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else ENTRIES
    if foreign := sorted(names - ENTRIES) or sorted({"meta.json"} - names):
        raise ArtefactError(
            f"{folder} exists and is no embedding set (see {', '.join(foreign[:3])}). Name another folder with --out."
        )


class EmbeddingSet:
    """An embedding set on disk.

    Args:
        folder: the folder that `sightwords embed` wrote.

    Attributes:
        vectors: float16, shape (R, D), memory-mapped, one row for each distinct text.
        mean: mean of the normalised vectors over all descriptions, float32, shape (D,).
        meta: encoder, revision, dimension, counts, fingerprint of the description set.

    Raises:
        ArtefactError: the folder is missing, unfinished or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "meta.json").is_file():
            raise ArtefactError(f"There is no embedding set at {folder}. Make one with: sightwords embed D.db")
        try:
            self.meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))
            self.vectors: np.ndarray = np.load(self.folder / "vectors.npy", mmap_mode="r")
            self.mean: np.ndarray = np.load(self.folder / "mean.npy")
        except (OSError, ValueError) as error:
            raise ArtefactError(f"The embedding set {folder} is damaged ({error}). Make it again.") from None
        if self.vectors.shape != (self.meta.get("num_vectors"), self.meta.get("dimension")):
            raise ArtefactError(f"The embedding set {folder} is damaged: {self.vectors.shape} vectors. Make it again.")

    @property
    def dimension(self) -> int:
        """Width D of the vectors."""
        return int(self.vectors.shape[1])

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}  # a worker process maps the file itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def index(self) -> pa.Table:
        """Return the index: key, prompt, describer, sample, row, agreement; many rows to one vector."""
        table = pq.read_table(self.folder / "index.parquet")
        if "agreement" not in table.column_names:  # of a set that was written before agreement was stored
            table = table.append_column(INDEX_SCHEMA.field("agreement"), pa.nulls(table.num_rows, pa.float32()))
        return table

    def rows_of(self, keys: Sequence[str]) -> TextRows:
        """Return the vectors of each image in the order of `keys`, none where an image has no description."""
        table = self.index()
        wanted = pa.table({"key": pa.array(keys, pa.string()), "position": np.arange(len(keys))})
        joined = table.select(["key", "sample", "row", "agreement"]).join(wanted, "key", join_type="inner")
        positions, rows, samples = (joined[name].to_numpy() for name in ("position", "row", "sample"))
        agreements = joined["agreement"].to_numpy().astype(np.float32)  # null becomes NaN
        order = np.lexsort((rows, samples, positions))
        starts = np.searchsorted(positions[order], np.arange(len(keys) + 1))
        return TextRows(starts.astype(np.int64), rows[order].astype(np.int64), agreements[order])

    @staticmethod
    def write(
        folder: Path,
        vectors: np.ndarray | Path,
        mean: np.ndarray,
        index: Mapping[str, Iterable[Any]] | pa.Table,
        meta: Mapping[str, Any],
    ) -> EmbeddingSet:
        """Write a whole embedding set in one step and return it.

        Args:
            folder: where; an embedding set that is there is replaced.
            vectors: normalised vectors, shape (R, D), stored as float16; or a file of NumPy that holds them as float16,
                which becomes part of the set without being copied where the file system allows it.
            mean: shape (D,).
            index: columns key, prompt, describer, sample, row, and agreement where it was scored, equally long.
            meta: what made the vectors; counts and the format version are added.
        """
        folder = Path(folder)
        check_replaceable(folder)
        table = index if isinstance(index, pa.Table) else _index_table(index)
        rows, dimension = (np.load(vectors, mmap_mode="r") if isinstance(vectors, Path) else vectors).shape
        shape = {"num_vectors": int(rows), "dimension": int(dimension)}
        counts = {"format_version": FORMAT_VERSION, **shape, "num_descriptions": table.num_rows}
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            _place_vectors(vectors, temporary / "vectors.npy")
            np.save(temporary / "mean.npy", mean.astype(np.float32))
            pq.write_table(table, temporary / "index.parquet")
            write_text(temporary / "meta.json", json.dumps({**meta, **counts}, indent=2, ensure_ascii=False) + "\n")
        return EmbeddingSet(folder)


def _index_table(columns: Mapping[str, Iterable[Any]]) -> pa.Table:
    """Return the index as a table; the agreement may be left out."""
    known = dict(columns)
    known.setdefault("agreement", pa.nulls(len(list(known["key"])), pa.float32()))
    return pa.table(known, schema=INDEX_SCHEMA)


def _place_vectors(vectors: np.ndarray | Path, path: Path) -> None:
    if not isinstance(vectors, Path):
        np.save(path, vectors.astype(np.float16, copy=False))
        return
    try:
        path.hardlink_to(vectors)
    except OSError:  # a file system without links, or another one
        shutil.copyfile(vectors, path)
