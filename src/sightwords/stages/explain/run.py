"""`sightwords explain`: what a network says of an image, and which training descriptions lie nearest to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sightwords.artifacts.embedding_set import EmbeddingSet
from sightwords.artifacts.run_folder import NetworkInfo, RunFolder
from sightwords.data.image_set import ImageSet
from sightwords.data.key import Member
from sightwords.data.key_cache import image_keys
from sightwords.errors import ArtifactError, DataError
from sightwords.files import atomic_path
from sightwords.nearest import nearest_rows
from sightwords.stages.explain.config import ExplainConfig
from sightwords.stages.explain.text_of_row import TextsOfRows
from sightwords.trained import Guess, Projection, Seen, TrainedNetwork, guesses, open_projection


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


def run(config: ExplainConfig) -> ExplainResult:
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


def _images(paths: list[Path]) -> ImageSet:
    for path in paths:
        if not path.is_file():
            raise DataError(f"There is no image file {path}. Name files, not folders.")
    names = [str(path) for path in paths]
    return ImageSet([Member(name, name) for name in names], image_keys(names), [[] for _ in names])


def _embeddings(config: ExplainConfig, projection: Projection) -> EmbeddingSet:
    folder = config.embeddings or Path(projection.space.embeddings)
    if not folder.exists():
        raise ArtifactError(
            f"The run was taught by the embedding set {folder}, which is not there. Name it with --embeddings."
        )
    embeddings = EmbeddingSet(folder)
    projection.check_set(embeddings)
    return embeddings


def _explain(told: _Told, images: ImageSet, seen: Seen) -> Iterator[Explanation]:
    queries = told.projection.of_images(seen.features).cpu().numpy()
    scores, rows = nearest_rows(told.embeddings.vectors, queries, told.count, transform=told.projection.of_texts)
    texts = told.texts.find(np.unique(rows).tolist())
    named = guesses(told.info, seen.logits, told.count)
    for place, index in enumerate(seen.indices.tolist()):
        pairs = zip(scores[place].tolist(), (texts[row] for row in rows[place].tolist()), strict=True)
        near = [Neighbor(score, one.text, one.name, one.class_name) for score, one in pairs]
        yield Explanation(images.member(index).name, named[place], near)
