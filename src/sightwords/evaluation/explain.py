"""`sightwords explain`: what a network says of an image, and which training descriptions lie nearest to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, DataError
from sightwords.evaluation.config import ExplainConfig
from sightwords.files import atomic_path
from sightwords.images.dataset import Split
from sightwords.images.keys import image_keys
from sightwords.images.references import ImageReference
from sightwords.models.inference import Guess, Projection, Seen, TrainedNetwork, guesses, open_projection
from sightwords.models.run_folder import NetworkInfo, RunFolder
from sightwords.text.embedding_set import EmbeddingSet, nearest_rows

_Place = tuple[str, str, str, int]  # key, prompt, describer, sample


@dataclass(frozen=True)
class RowText:
    """A description, and the image that it describes; of several images with one text, one of them.

    Attributes:
        text: the description.
        name: the image's name.
        class_name: readable name of its class.
    """

    text: str
    name: str
    class_name: str


class TextsOfRows:
    """Looks up the texts of an embedding set's rows in the description set that it was made of.

    Args:
        embeddings: the embedding set.
        descriptions: the description set; None takes the one that the embedding set names.

    Raises:
        ArtifactError: there is none at that place.
    """

    def __init__(self, embeddings: EmbeddingSet, descriptions: Path | None) -> None:
        named = embeddings.meta.get("descriptions")
        if descriptions is None and named is None:
            raise ArtifactError(f"{embeddings.folder} does not say what it was made of. Give --descriptions D.db.")
        self.path = descriptions or Path(str(named))
        if not self.path.is_file():
            raise ArtifactError(f"There is no description set at {self.path}. Name it with --descriptions D.db.")
        self._embeddings, self._index = embeddings, embeddings.index()

    def find(self, rows: Sequence[int]) -> dict[int, RowText]:
        """Return the text of each row.

        Raises:
            ArtifactError: a row's text is not in the description set.
        """
        wanted = self._index.filter(pc.is_in(self._index["row"], value_set=pa.array(rows, pa.int64())))
        first = {one["row"]: one for one in reversed(wanted.to_pylist())}  # thousands of images may share a text
        places = {(i["key"], i["prompt"], i["describer"], i["sample"]): row for row, i in first.items()}
        found: dict[int, RowText] = {}
        for place, text in self._texts({key for key, *_ in places}):
            if place in places:
                found.setdefault(places[place], text)
        if missing := set(rows) - found.keys():
            raise ArtifactError(
                f"{self.path} lacks the texts of {len(missing)} of {len(rows)} vectors of {self._embeddings.folder}. "
                "Name the description set that it was made of with --descriptions."
            )
        return found

    def _texts(self, keys: set[str]) -> Iterator[tuple[_Place, RowText]]:
        listed = ", ".join(f"'{key}'" for key in sorted(keys))
        with DescriptionSet(self.path) as store:
            images = store.images()
            for one in store.select(f"key IN ({listed})"):
                name, class_name = images.get(one.key, (one.key[:12], ""))
                yield (one.key, one.prompt, one.describer, one.sample), RowText(one.text, name, class_name)


@dataclass(frozen=True)
class Neighbor:
    """A description of a training image that lies near an image.

    Attributes:
        score: cosine of image and description in the text's space.
        text: the description.
        name: the described image's name as the description set has it.
        class_name: readable name of that image's class.
    """

    score: float
    text: str
    name: str
    class_name: str


@dataclass(frozen=True)
class Explanation:
    """What is to be said of an image."""

    image: str
    predictions: list[Guess]
    descriptions: list[Neighbor]


@dataclass(frozen=True)
class ExplainResult:
    """What is to be said of several images.

    Attributes:
        explanations: in the order of the images.
        unreadable: names and reasons of images that were left out.
        out: file that was written, or None.
    """

    explanations: list[Explanation]
    unreadable: list[str]
    out: Path | None

    def summary(self) -> str:
        """Return predictions and descriptions, image by image."""
        lines: list[str] = []
        for one in self.explanations:
            lines += [one.image, *(f"  {p.probability:6.1%}  {p.class_name}" for p in one.predictions)]
            for near in one.descriptions:
                owner = f"{near.name} ({near.class_name})" if near.class_name else near.name
                lines += [f"  {near.score:6.3f}  {near.text}", f"          of {owner}"]
            lines.append("")
        lines += [f"Left out: {problem}" for problem in self.unreadable]
        return "\n".join([*lines, *([f"Wrote {self.out}"] if self.out else [])]).rstrip()

    @property
    def next_command(self) -> str:
        """Nothing follows."""
        return ""


@dataclass(frozen=True)
class _Told:
    """What explanations are made of."""

    info: NetworkInfo
    projection: Projection
    embeddings: EmbeddingSet
    texts: TextsOfRows
    count: int


def explain(config: ExplainConfig) -> ExplainResult:
    """Show what a run's network says of images.

    Raises:
        ArtifactError: the run is unfinished or shares no space with text, or a set is missing or not the run's.
        DataError: an image file cannot be read, or no image can be decoded.
    """
    folder = RunFolder(config.run)
    projection = open_projection(folder, config.space)
    embeddings = _embeddings(config, projection)
    texts = TextsOfRows(embeddings, config.descriptions)
    network = TrainedNetwork(folder, config.device, projection.info.features)
    told = _Told(network.info, projection, embeddings, texts, config.top)
    images = _images(config.images)
    found: dict[str, Explanation] = {}
    unreadable: list[str] = []
    for seen in network.see(images, config.batch_size, 0, "Explaining", show=False):
        found |= {one.image: one for one in _explain(told, images, seen)}
        unreadable += seen.unreadable
    explanations = [found[str(path)] for path in config.images if str(path) in found]
    if config.out is not None:
        with atomic_path(config.out) as temporary, temporary.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in explanations)
    return ExplainResult(explanations, unreadable, config.out)


def _images(paths: list[Path]) -> Split:
    for path in paths:
        if not path.is_file():
            raise DataError(f"There is no image file {path}. Name files, not folders.")
    names = [str(path) for path in paths]
    return Split.of([ImageReference(name, name) for name in names], image_keys(names), [[] for _ in names])


def _embeddings(config: ExplainConfig, projection: Projection) -> EmbeddingSet:
    folder = config.embeddings or Path(projection.space.embeddings)
    if not folder.exists():
        raise ArtifactError(
            f"The run was taught by the embedding set {folder}, which is not there. Name it with --embeddings."
        )
    embeddings = EmbeddingSet(folder)
    projection.check_set(embeddings)
    return embeddings


def _explain(told: _Told, images: Split, seen: Seen) -> Iterator[Explanation]:
    queries = told.projection.of_images(seen.features).cpu().numpy()
    scores, rows = nearest_rows(told.embeddings.vectors, queries, told.count, transform=told.projection.of_texts)
    texts = told.texts.find(np.unique(rows).tolist())
    named = guesses(told.info, seen.logits, told.count)
    for place, index in enumerate(seen.indices.tolist()):
        pairs = zip(scores[place].tolist(), (texts[row] for row in rows[place].tolist()), strict=True)
        near = [Neighbor(score, one.text, one.name, one.class_name) for score, one in pairs]
        yield Explanation(images.reference(index).name, named[place], near)
