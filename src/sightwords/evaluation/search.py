"""`sightwords search`: images ranked by a sentence, by vectors that are computed once for a run and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightwords.errors import ArtifactError, DataError
from sightwords.evaluation.config import SearchConfig
from sightwords.files import lock, row_writer, write_text
from sightwords.images.dataset import Dataset, locate, open_dataset
from sightwords.images.decode import thumbnail_uri
from sightwords.images.gallery import Card, write_gallery
from sightwords.images.keys import KEY_BYTES
from sightwords.images.references import ImageReference
from sightwords.models.inference import Projection, TrainedNetwork, open_projection
from sightwords.models.run_folder import RunFolder
from sightwords.progress import duration, stopwatch
from sightwords.text.embedding_set import nearest_rows


class FeatureIndex:
    """Vectors of images by key; of one network, one projector and one way to feed it.

    `vectors.bin` grows at its end by rows of a key and a vector. What a kill left of a row is overwritten.

    Args:
        folder: where it is, or comes to be.
        dimension: width D of the vectors.
        identity: what the vectors depend on; an index of anything else is begun anew.

    Raises:
        ArtifactError: the folder holds something else.
    """

    def __init__(self, folder: Path, dimension: int, identity: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self._file = self.folder / "vectors.bin"
        self._row = np.dtype([("key", np.uint8, (KEY_BYTES,)), ("vector", "<f2", (dimension,))])
        identity = {"dimension": dimension, **identity}
        if self._identity() != identity:
            self._begin(identity)

    def __len__(self) -> int:
        return self._file.stat().st_size // self._row.itemsize

    @property
    def vectors(self) -> np.ndarray:
        """Unit vectors, float16, (N, D), mapped."""
        return np.asarray(self._rows()["vector"])

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the row of each key (in bytes, uint8, (M, 32)), int64, (M,), -1 where there is none."""
        found = pc.index_in(_arrow(keys), value_set=_arrow(self._rows()["key"]))
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int64)

    def append(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Add keys in bytes, uint8, (M, 32), with unit vectors, float32, (M, D); return once they are on the disk."""
        rows = np.empty(len(keys), self._row)
        rows["key"], rows["vector"] = keys, vectors
        with self._file.open("r+b") as file:
            file.seek(len(self) * self._row.itemsize)
            file.write(rows.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def _rows(self) -> np.ndarray:
        count = len(self)
        return np.memmap(self._file, self._row, "r", shape=count) if count else np.empty(0, self._row)

    def _identity(self) -> dict[str, Any] | None:
        try:
            return dict(json.loads((self.folder / "index.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def _begin(self, identity: dict[str, Any]) -> None:
        names = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        if foreign := names - {"vectors.bin", "index.json"}:
            raise ArtifactError(f"{self.folder} is not an image index (see {min(foreign)}). Name another with --index.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file.write_bytes(b"")  # first: vectors must not stand under another identity
        write_text(self.folder / "index.json", json.dumps(identity, indent=2) + "\n")


def _arrow(keys: np.ndarray) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(KEY_BYTES), len(keys), [None, pa.py_buffer(np.ascontiguousarray(keys))])


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        rank: 1 for the best.
        score: cosine of image and sentence in the text's space.
        name: the image's name as the user knows it.
        label: its class ids, separated by `|`; empty where it has none.
        class_name: their readable names, likewise.
        split: split that it stands in.
        key: its key.
    """

    rank: int
    score: float
    name: str
    label: str
    class_name: str
    split: str
    key: str


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        hits: the best first.
        num_images: images searched.
        num_new: of them, those whose vectors were computed in this search.
        unreadable: names and reasons of images that were left out.
        index: folder of the vectors.
        written: files that were written.
        index_seconds: time to list the images, and to compute vectors where they were missing.
        search_seconds: time of the search itself.
    """

    hits: list[Hit]
    num_images: int
    num_new: int
    unreadable: list[str]
    index: Path
    written: list[Path]
    index_seconds: float
    search_seconds: float
    next_command = ""

    def summary(self) -> str:
        """Return the images found, as a table."""
        width = max((len(hit.class_name) for hit in self.hits), default=0)
        lines = [f"{hit.rank:4}  {hit.score:6.3f}  {hit.class_name:{width}}  {hit.name}" for hit in self.hits]
        lines.append(
            f"Searched {self.num_images} images in {self.search_seconds:.2f} s, after {duration(self.index_seconds)} "
            f"for their vectors ({self.num_new} new ones, kept in {self.index})."
        )
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images could not be read, such as {self.unreadable[0]}")
        return "\n".join([*lines, *(f"Wrote {path}" for path in self.written)])


def search(config: SearchConfig) -> SearchResult:
    """Rank images by a sentence.

    Vectors of images are computed once for a run and kept; images that come later are added. A search that is
    interrupted goes on where it was.

    Raises:
        ArtifactError: the run is unfinished, or keeps no projector into a space that it shares with text.
        BusyError: another process computes the vectors.
        ConfigError: an option does not fit.
        DataError: the images cannot be used.
        ModelError: the text encoder cannot be had.
    """
    folder = RunFolder(config.run)
    projection = open_projection(folder, config.space)
    query = projection.of_sentence(config.sentence, config.device)  # the quick part first: it may be refused
    with stopwatch() as index_seconds:
        dataset = open_dataset(config, ("train", "val"))
        index, num_new, unreadable = _fill(config, folder, projection, dataset)
        keys = np.concatenate([images.key_bytes for images in dataset.splits.values()])
        rows = index.find(keys)
    if not (rows >= 0).any():
        raise DataError(f"None of the {len(keys)} images can be read; the first: {unreadable[0]}.")
    with stopwatch() as search_seconds:
        wanted = np.zeros(len(index), bool)
        wanted[rows[rows >= 0]] = True
        scores, best = nearest_rows(index.vectors, query, config.top, None if wanted.all() else wanted)
    found = [locate(dataset.splits, int(np.argmax(rows == row))) for row in best[0]]
    hits = []
    for rank, (score, (split, images, i)) in enumerate(zip(scores[0].tolist(), found, strict=True), 1):
        labels = images.labels(i)
        label, class_name = ("|".join(names[j] for j in labels) for names in (dataset.class_ids, dataset.class_names))
        name, key = images.reference(i).name, images.key(i)
        hits.append(Hit(rank, score, name, label, class_name, split=split, key=key))
    return SearchResult(
        hits=hits,
        num_images=int(wanted.sum()),
        num_new=num_new,
        unreadable=[*map(str, dataset.problems), *unreadable],
        index=index.folder,
        written=_write(config, hits, [images.reference(i) for _, images, i in found]),
        index_seconds=index_seconds[0],
        search_seconds=search_seconds[0],
    )


def _fill(
    config: SearchConfig, folder: RunFolder, projection: Projection, dataset: Dataset
) -> tuple[FeatureIndex, int, list[str]]:
    """Return the index with all images in it, how many are new, and what cannot be read."""
    place = config.index or config.run / "search" / f"space-{config.space}"
    identity = _identity(folder, config)
    with lock(f"image index {place.resolve()}", f"Another process computes {place}. Wait for it, or stop it first."):
        index = FeatureIndex(place, projection.space.out_features, identity)
        before, unreadable = len(index), list[str]()
        network: TrainedNetwork | None = None
        for name, images in dataset.splits.items():
            distinct = images.subset(images.distinct_indices())
            missing = distinct.subset(np.flatnonzero(index.find(distinct.key_bytes) < 0))
            if not len(missing):
                continue
            network = network or TrainedNetwork(folder, config.device, projection.info.features)
            for output in network.infer(missing, config.batch_size, config.workers, f"Vectors of the {name} images"):
                vectors = projection.of_images(output.features).cpu().numpy()
                index.append(missing.key_bytes[output.batch.indices.numpy()], vectors)
                unreadable += output.batch.unreadable
        return index, len(index) - before, unreadable


def _identity(folder: RunFolder, config: SearchConfig) -> dict[str, Any]:
    """Return what the vectors depend on beside the images."""
    if not folder.weights_path.is_file():
        folder.load_weights()  # says that the training has not finished
    digests = {}
    for path in (folder.weights_path, folder.folder / "projector.safetensors", folder.folder / "network.json"):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return {"space": config.space, "files": digests}


def _write(config: SearchConfig, hits: list[Hit], references: list[ImageReference]) -> list[Path]:
    if config.page is not None:
        cards = [
            Card(
                image=thumbnail_uri(reference),
                rank=str(hit.rank),
                label=hit.class_name,
                facts=[("cosine", f"{hit.score:.3f}")],
                name=hit.name,
            )
            for hit, reference in zip(hits, references, strict=True)
        ]
        shown = [("Run", str(config.run)), ("Images", str(config.images))]
        write_gallery(config.page, f"“{config.sentence}”", shown, cards)
    with row_writer(config.out) as write:
        for hit in hits:
            write(asdict(hit))
    return [path for path in (config.out, config.page) if path is not None]
