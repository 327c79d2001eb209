"""`sightwords search`: images ranked by a sentence."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightwords.errors import DataError
from sightwords.evaluation.config import SearchConfig
from sightwords.evaluation.feature_index import FeatureIndex
from sightwords.files import atomic_path, lock
from sightwords.images.dataset import Dataset, Split, locate, open_dataset
from sightwords.images.decode import thumbnail_uri
from sightwords.images.gallery import Card, write_gallery
from sightwords.images.references import ImageReference
from sightwords.models.inference import Projection, TrainedNetwork, open_projection
from sightwords.models.run_folder import RunFolder
from sightwords.progress import duration, stopwatch
from sightwords.text.embedding_set import nearest_rows

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        rank: 1 for the best.
        score: cosine of image and sentence in the text's space.
        name: the image's name as the user knows it.
        label: its class ids, separated by `|`; empty where it has none.
        split: split that it stands in.
        key: its key.
    """

    rank: int
    score: float
    name: str
    label: str
    split: str
    key: str


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        sentence: what was searched for.
        hits: the best first.
        num_images: images searched.
        num_new: of them, those whose vectors were computed now.
        unreadable: names and reasons of images that were left out.
        index: folder of the vectors.
        written: files that were written.
        index_seconds: time to list the images, and to compute vectors where they were missing.
        search_seconds: time of the search itself.
    """

    sentence: str
    hits: list[Hit]
    num_images: int
    num_new: int
    unreadable: list[str]
    index: Path
    written: list[Path]
    index_seconds: float
    search_seconds: float

    def summary(self) -> str:
        """Return the images found, as a table."""
        width = max((len(hit.label) for hit in self.hits), default=0)
        lines = [f"{hit.rank:4}  {hit.score:6.3f}  {hit.label:{width}}  {hit.name}" for hit in self.hits]
        lines.append(
            f"Searched {self.num_images} images in {self.search_seconds:.2f} s, after {duration(self.index_seconds)} "
            f"for their vectors ({self.num_new} new ones, kept in {self.index})."
        )
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images could not be read, such as {self.unreadable[0]}")
        return "\n".join([*lines, *(f"Wrote {path}" for path in self.written)])

    @property
    def next_command(self) -> str:
        """Nothing follows."""
        return ""


@dataclass(frozen=True)
class _Place:
    """Where an image stands."""

    split: str
    images: Split
    index: int

    @property
    def reference(self) -> ImageReference:
        return self.images.reference(self.index)


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
        dataset = open_dataset(config, SPLITS)
        index, num_new, unreadable = _fill(config, folder, projection, dataset)
        keys = np.concatenate([images.key_bytes for images in dataset.splits.values()])
        places = index.find(keys)
    if not (places >= 0).any():
        raise DataError(f"None of the {len(keys)} images can be read; the first: {unreadable[0]}.")
    with stopwatch() as search_seconds:
        wanted = np.zeros(len(index), bool)
        wanted[places[places >= 0]] = True
        scores, rows = nearest_rows(index.vectors, query, config.top, None if wanted.all() else wanted)
    found = [_Place(*locate(dataset.splits, int(np.argmax(places == row)))) for row in rows[0]]
    hits = [_hit(i + 1, float(s), p, dataset) for i, (s, p) in enumerate(zip(scores[0], found, strict=True))]
    written = _write(config, hits, found)
    problems = [f"{problem.name}: {problem.reason}" for problem in dataset.problems]
    counts = (int(wanted.sum()), num_new, problems + unreadable)
    return SearchResult(config.sentence, hits, *counts, index.folder, written, index_seconds[0], search_seconds[0])


def _fill(
    config: SearchConfig, folder: RunFolder, projection: Projection, dataset: Dataset
) -> tuple[FeatureIndex, int, list[str]]:
    """Return the index with all images in it, how many are new, and what cannot be read."""
    place = config.index or config.run / "search" / f"space-{config.space}"
    identity = _identity(folder, config)
    with lock(f"image index {place.resolve()}", f"Another process computes {place}. Wait for it, or stop it first."):
        index = FeatureIndex(place, projection.space.out_features, identity)
        missing = [(name, images, np.flatnonzero(_is_new(index, images))) for name, images in dataset.splits.items()]
        if not any(len(indices) for _, _, indices in missing):
            return index, 0, []
        network = TrainedNetwork(folder, config.device, projection.info.features)
        before, unreadable = len(index), []
        for name, images, indices in missing:
            own = images.subset(indices.tolist())
            own = own.subset(np.flatnonzero(_is_new(index, own)).tolist())  # an image may stand in both splits
            if len(own):
                unreadable += _compute(config, index, network, projection, own, f"Looking at the {name} images")
        return index, len(index) - before, unreadable


def _is_new(index: FeatureIndex, images: Split) -> np.ndarray:
    """Return which images are to be looked at: not in the index, and the first of their key, bool, (N,)."""
    first = np.zeros(len(images), bool)
    first[images.distinct_indices()] = True
    return np.asarray(first & (index.find(images.key_bytes) < 0))


def _compute(
    config: SearchConfig,
    index: FeatureIndex,
    network: TrainedNetwork,
    projection: Projection,
    images: Split,
    title: str,
) -> list[str]:
    unreadable: list[str] = []
    for seen in network.see(images, config.batch_size, config.workers, title):
        index.append(images.key_bytes[seen.indices.numpy()], projection.of_images(seen.features).cpu().numpy())
        unreadable += seen.unreadable
    return unreadable


def _identity(folder: RunFolder, config: SearchConfig) -> dict[str, Any]:
    """Return what the vectors depend on beside the images."""
    files = (folder.weights_path, folder.folder / "projector.safetensors", folder.folder / "network.json")
    if not folder.weights_path.is_file():
        folder.load_weights()  # says that the training has not finished
    return {"space": config.space, "files": {path.name: _digest(path) for path in files}}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hit(rank: int, score: float, place: _Place, dataset: Dataset) -> Hit:
    label = "|".join(dataset.class_ids[i] for i in place.images.labels(place.index))
    return Hit(rank, score, place.reference.name, label, place.split, place.images.key(place.index))


def _write(config: SearchConfig, hits: list[Hit], places: list[_Place]) -> list[Path]:
    written = []
    if config.out is not None:
        _write_hits(config.out, hits)
        written.append(config.out)
    if config.page is not None:
        cards = [_card(hit, place) for hit, place in zip(hits, places, strict=True)]
        facts = [("Run", str(config.run)), ("Images", str(config.images))]
        write_gallery(config.page, f"“{config.sentence}”", facts, cards)
        written.append(config.page)
    return written


def _card(hit: Hit, place: _Place) -> Card:
    facts = [("cosine", f"{hit.score:.3f}")]
    return Card(thumbnail_uri(place.reference), str(hit.rank), hit.label, "", "", facts, hit.name)


def _write_hits(path: Path, hits: list[Hit]) -> None:
    rows = [asdict(hit) for hit in hits]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors="replace") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
