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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sightwords.errors import ArtifactError
from sightwords.files import atomic_path, write_text

FORMAT_VERSION = 1
_MIN_ROWS = 65_536  # of the index, read at once
_IMAGES_AT_ONCE = 8192
ENTRIES = {"vectors.npy", "mean.npy", "index.parquet", "meta.json"}
INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("prompt", pa.dictionary(pa.int32(), pa.string())),
        ("describer", pa.dictionary(pa.int32(), pa.string())),
        ("sample", pa.int32()),
        ("row", pa.int64()),
        ("clip_score", pa.float32()),  # of image and text, null where it was not scored
    ]
)


@dataclass(frozen=True)
class TextRows:
    """Which vectors belong to each of N images: rows[starts[i]:starts[i + 1]].

    Attributes:
        starts: int64, shape (N + 1,).
        rows: rows of the vectors, shape (R,); int32 where that is enough, since every training process holds them.
        clip_scores: of each description and its image, float32, shape (R,), NaN where it was not scored.
    """

    starts: np.ndarray
    rows: np.ndarray
    clip_scores: np.ndarray

    @property
    def num_texts(self) -> np.ndarray:
        """Number of descriptions of each image, int64, shape (N,)."""
        return np.diff(self.starts)

    @property
    def owners(self) -> np.ndarray:
        """Image of each description, int64, shape (R,)."""
        return np.repeat(np.arange(len(self.starts) - 1), self.num_texts)

    def of_images(self, indices: np.ndarray) -> TextRows:
        """Return the vectors of the images at `indices`, in their order."""
        counts = self.num_texts[indices]
        starts = np.concatenate(([0], np.cumsum(counts)))
        places = np.arange(starts[-1]) + np.repeat(self.starts[:-1][indices] - starts[:-1], counts)
        return TextRows(starts, self.rows[places], self.clip_scores[places])


def check_replaceable(folder: Path) -> None:
    """Refuse a place that holds anything but an embedding set: what is there is replaced as a whole.

    Raises:
        ArtifactError: it is a file, or a folder with other entries.
    """
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder} is a file. Name another place for the embedding set with --out.")
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else ENTRIES
    if foreign := sorted(names - ENTRIES) or sorted({"meta.json"} - names):
        raise ArtifactError(
            f"{folder} exists and is no embedding set (see {', '.join(foreign[:3])}). Name another folder with --out."
        )


class EmbeddingSet:
    """An embedding set on disk.

    Args:
        folder: the folder that `sightwords embed` wrote.

    Attributes:
        vectors: float16, shape (R, D), memory-mapped, one row for each distinct text.
        mean: mean of the normalized vectors over all descriptions, float32, shape (D,).
        meta: encoder, revision, dimension, counts, fingerprint of the description set.

    Raises:
        ArtifactError: the folder is missing, unfinished or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "meta.json").is_file():
            raise ArtifactError(f"There is no embedding set at {folder}. Make one with: sightwords embed D.db")
        try:
            self.meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))
            self.vectors: np.ndarray = np.load(self.folder / "vectors.npy", mmap_mode="r")
            self.mean: np.ndarray = np.load(self.folder / "mean.npy")
        except (OSError, ValueError) as error:
            raise ArtifactError(f"The embedding set {folder} is damaged ({error}). Make it again.") from None
        if self.vectors.shape != (self.meta.get("num_vectors"), self.meta.get("dimension")):
            raise ArtifactError(f"The embedding set {folder} is damaged: {self.vectors.shape} vectors. Make it again.")

    @property
    def dimension(self) -> int:
        """Width D of the vectors."""
        return int(self.vectors.shape[1])

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}  # a worker process maps the file itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def index(self) -> pa.Table:
        """Return the index: key, prompt, describer, sample, row, clip_score; many rows to one vector."""
        table = pq.read_table(self.folder / "index.parquet")
        if "clip_score" not in table.column_names:
            table = table.append_column(INDEX_SCHEMA.field("clip_score"), pa.nulls(table.num_rows, pa.float32()))
        return table

    def rows_of(self, keys: Sequence[str]) -> TextRows:
        """Return the vectors of each image in the order of `keys`, none where an image has no description."""
        encoded = pa.array(keys, pa.string()).dictionary_encode()  # a key may stand there twice
        rows = self._found(encoded.dictionary).of_images(encoded.indices.to_numpy())
        del encoded
        pa.default_memory_pool().release_unused()  # else a training process keeps ten times what it needs of the index
        return rows

    def means(self, rows: TextRows) -> np.ndarray:
        """Return the mean of each image's vectors, float32, shape (N, D).

        Args:
            rows: of N images, each with a description at least.
        """
        means = np.empty((len(rows.num_texts), self.dimension), np.float32)
        for start in range(0, len(means), _IMAGES_AT_ONCE):
            own = rows.of_images(np.arange(start, min(len(means), start + _IMAGES_AT_ONCE)))
            total = np.add.reduceat(np.asarray(self.vectors[own.rows], np.float32), own.starts[:-1])
            means[start : start + len(total)] = total / own.num_texts[:, None]
        return means

    def _found(self, keys: pa.Array) -> TextRows:
        """Return the vectors of each of different keys; the index is read in parts of about as many rows as keys."""
        parts: dict[str, list[np.ndarray]] = {name: [] for name in ("position", "sample", "row", "clip_score")}
        with pq.ParquetFile(self.folder / "index.parquet") as file:
            columns = [name for name in ("key", *parts) if name in file.schema_arrow.names]
            for batch in file.iter_batches(max(_MIN_ROWS, len(keys)), columns=columns, use_threads=False):
                place = pc.index_in(batch["key"], keys)
                known = batch.filter(place.is_valid())
                parts["position"].append(place.drop_null().to_numpy())
                parts["sample"].append(known["sample"].to_numpy())
                parts["row"].append(known["row"].to_numpy())
                parts["clip_score"].append(_clip_scores(known))
        return _sorted_rows(parts, len(keys), len(self.vectors))

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
            vectors: normalized vectors, shape (R, D), stored as float16; or a file of NumPy that holds them as float16,
                which becomes part of the set without being copied where the file system allows it.
            mean: shape (D,).
            index: columns key, prompt, describer, sample, row, and clip_score where it was scored, equally long.
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


def _clip_scores(batch: pa.RecordBatch) -> np.ndarray:
    """Return the CLIP score of each row, float32, NaN where it is null, or where the set is older than the column."""
    if "clip_score" not in batch.schema.names:
        return np.full(batch.num_rows, np.nan, np.float32)
    return np.asarray(batch["clip_score"].to_numpy(zero_copy_only=False), np.float32)


def _sorted_rows(parts: dict[str, list[np.ndarray]], num_keys: int, num_vectors: int) -> TextRows:
    """Return what was found in the index, in the order of key, sample and row."""
    none = np.zeros(0, np.int64)
    position, sample, row, clip_score = (np.concatenate([none, *parts[name]]) for name in parts)
    order = np.lexsort((row, sample, position))
    starts = np.concatenate(([0], np.cumsum(np.bincount(position, minlength=num_keys))))
    kind = np.int32 if num_vectors <= np.iinfo(np.int32).max else np.int64
    return TextRows(starts, row[order].astype(kind), clip_score[order].astype(np.float32))


def _index_table(columns: Mapping[str, Iterable[Any]]) -> pa.Table:
    """Return the index as a table; the CLIP score may be left out."""
    known = dict(columns)
    known.setdefault("clip_score", pa.nulls(len(list(known["key"])), pa.float32()))
    return pa.table(known, schema=INDEX_SCHEMA)


def _place_vectors(vectors: np.ndarray | Path, path: Path) -> None:
    if not isinstance(vectors, Path):
        np.save(path, vectors.astype(np.float16, copy=False))
        return
    try:
        path.hardlink_to(vectors)
    except OSError:  # a file system without links, or another one
        shutil.copyfile(vectors, path)


def usable(first_labels: np.ndarray, keys: Sequence[str], embeddings: Sequence[Path]) -> np.ndarray:
    """Return which images a training can use where labels are missing: with a label, or with a text that tells it.

    Args:
        first_labels: class index of each image, -1 without one, int64, shape (N,).
        keys: their keys.
        embeddings: embedding sets; the first one tells classes. None for a training without text.

    Returns:
        bool, shape (N,).
    """
    known = first_labels >= 0
    return known | (EmbeddingSet(embeddings[0]).rows_of(keys).num_texts > 0) if embeddings else known


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
