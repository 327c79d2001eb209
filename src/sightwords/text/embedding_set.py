"""The embedding set: a folder of text vectors that a training process maps and never copies."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sightwords.errors import ArtifactError
from sightwords.files import atomic_path, write_text

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
_MIN_ROWS = 65_536  # of the index, read at once
_IMAGES_AT_ONCE = 8192
BLOCK_BYTES = 64 * 2**20  # of float32 in a search: with a quarter of it, waiting for threads took a third of the time
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
    """

    starts: np.ndarray
    rows: np.ndarray

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
        return TextRows(starts, self.rows[places])


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
            f"{folder} exists and is not an embedding set (see {', '.join(foreign[:3])}). Name another with --out."
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
        return pq.read_table(self.folder / "index.parquet")

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
        columns = ["key", "sample", "row"]
        parts = []
        with pq.ParquetFile(self.folder / "index.parquet") as file:
            for batch in file.iter_batches(max(_MIN_ROWS, len(keys)), columns=columns, use_threads=False):
                place = pc.index_in(batch["key"], keys)
                known = batch.filter(place.is_valid())
                found = (known[name].to_numpy(zero_copy_only=False) for name in columns[1:])
                parts.append((place.drop_null().to_numpy(), *found))
        position, sample, row = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.lexsort((row, sample, position))
        starts = np.concatenate(([0], np.cumsum(np.bincount(position, minlength=len(keys)))))
        kind = np.int32 if len(self.vectors) <= np.iinfo(np.int32).max else np.int64
        return TextRows(starts, row[order].astype(kind))

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
                which is moved into the set.
            mean: shape (D,).
            index: columns key, prompt, describer, sample, row, and clip_score where it was scored, equally long.
            meta: what made the vectors; counts and the format version are added.
        """
        folder = Path(folder)
        check_replaceable(folder)
        if not isinstance(index, pa.Table):
            index = {"clip_score": pa.nulls(len(list(index["key"])), pa.float32()), **index}
        table = pa.table(index, schema=INDEX_SCHEMA)
        rows, dimension = (np.load(vectors, mmap_mode="r") if isinstance(vectors, Path) else vectors).shape
        shape = {"num_vectors": int(rows), "dimension": int(dimension)}
        counts = {"format_version": FORMAT_VERSION, **shape, "num_descriptions": table.num_rows}
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            if isinstance(vectors, Path):
                shutil.move(vectors, temporary / "vectors.npy")
            else:
                np.save(temporary / "vectors.npy", vectors.astype(np.float16, copy=False))
            np.save(temporary / "mean.npy", mean.astype(np.float32))
            pq.write_table(table, temporary / "index.parquet")
            write_text(temporary / "meta.json", json.dumps({**meta, **counts}, indent=2, ensure_ascii=False) + "\n")
        return EmbeddingSet(folder)


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

    def __getitem__(self, positions: int | Sequence[int] | slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
        rows = self._rows.of_images(chosen.ravel())
        described = rows.num_texts > 0
        vectors = np.zeros((chosen.size, self.dimension), np.float32)
        vectors[described] = self._set.means(rows.of_images(np.flatnonzero(described)))
        weights = described.astype(np.float32).reshape(chosen.shape)
        return vectors.reshape(*chosen.shape, self.dimension), weights


def nearest_rows(
    vectors: np.ndarray,
    queries_QD: np.ndarray,
    count: int,
    wanted: np.ndarray | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return products and rows of the nearest vectors, nearest first; equal ones in the order of their rows.

    The search is exact. Memory is that of a block, however many rows there are: each is read once from where it is
    mapped.

    Args:
        vectors: (N, D), any float type; of unit length, so that products are cosines.
        queries_QD: (Q, D), float32, of unit length.
        count: rows to return for each query; fewer come where there are fewer.
        wanted: (N,) boolean, the rows that may be returned; None allows all.
        transform: what a block of vectors goes through first, float32 in and out.

    Returns:
        (Q, count) products, float32, and (Q, count) rows, int64.
    """
    import torch

    count = min(count, len(vectors) if wanted is None else int(wanted.sum()))
    best, rows = torch.empty(len(queries_QD), 0), torch.empty(len(queries_QD), 0, dtype=torch.int64)
    for start, products in _block_products(vectors, queries_QD, transform):
        if wanted is not None:
            products[:, torch.from_numpy(~wanted[start : start + products.shape[1]])] = -torch.inf
        found, places = products.topk(min(count, products.shape[1]), dim=1)
        best, rows = torch.cat([best, found], 1), torch.cat([rows, places + start], 1)
        by_row = rows.argsort(dim=1)  # topk leaves equal ones in any order
        best, rows = best.gather(1, by_row), rows.gather(1, by_row)
        order = best.argsort(dim=1, descending=True, stable=True)[:, :count]
        best, rows = best.gather(1, order), rows.gather(1, order)
    return best.numpy(), rows.numpy()


def all_products(vectors: np.ndarray, query_D: np.ndarray) -> np.ndarray:
    """Return the product of every row with a query, float32, (N,); memory beside it is that of a block.

    Args:
        vectors: (N, D), any float type.
        query_D: (D,), float32.
    """
    products = np.empty(len(vectors), np.float32)
    for start, found in _block_products(vectors, query_D[None]):
        products[start : start + found.shape[1]] = found[0].numpy()
    return products


def _block_products(
    vectors: np.ndarray, queries_QD: np.ndarray, transform: Callable[[Tensor], Tensor] | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yield the first row of each block of B rows, and the products of all queries with them, float32, (Q, B)."""
    import torch

    queries = torch.from_numpy(np.ascontiguousarray(queries_QD, np.float32))
    num_rows, width = vectors.shape
    step = max(1, BLOCK_BYTES // (4 * width))
    buffer = torch.empty(min(step, num_rows), width)  # used again for each block
    for start in range(0, num_rows, step):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of memory that it may not write to, and only reads it here
            part = torch.from_numpy(vectors[start : start + step].view(np.ndarray))
        block = buffer[: len(part)].copy_(part)
        yield start, queries @ (transform(block) if transform else block).T
