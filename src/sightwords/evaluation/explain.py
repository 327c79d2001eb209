"""`sightwords explain`: what a network predicts for an image, and which training descriptions lie nearest to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError
from sightwords.evaluation.config import ExplainConfig
from sightwords.files import row_writer
from sightwords.images.dataset import Split
from sightwords.images.keys import image_keys
from sightwords.images.references import ImageReference
from sightwords.models.inference import Prediction, Projection, TrainedNetwork, open_projection, top_predictions
from sightwords.models.run_folder import RunFolder
from sightwords.text.embedding_set import EmbeddingSet, nearest_rows


@dataclass(frozen=True)
class Neighbor:
    """A description of a training image that lies near an image.

    Attributes:
        score: cosine of image and description in the text's space.
        text: the description.
        name: the described image's name as the description set has it; of several images with one text, one of them.
        class_name: readable name of that image's class.
    """

    score: float
    text: str
    name: str
    class_name: str


@dataclass(frozen=True)
class Explanation:
    """Predictions for an image, and the descriptions nearest to it, the best first."""

    image: str
    predictions: list[Prediction]
    descriptions: list[Neighbor]


@dataclass(frozen=True)
class ExplainResult:
    """Explanations of several images.

    Attributes:
        explanations: in the order of the images.
        unreadable: names and reasons of images that were left out.
        out: file that was written, or None.
    """

    explanations: list[Explanation]
    unreadable: list[str]
    out: Path | None
    next_command = ""

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


def explain(config: ExplainConfig) -> ExplainResult:
    """Show what a run's network predicts for images, and the training descriptions nearest to them.

    Raises:
        ArtifactError: the run is unfinished or has no space in common with text, or a set is missing or not the run's.
        DataError: an image file cannot be read, or no image can be decoded.
    """
    folder = RunFolder(config.run)
    projection = open_projection(folder, config.space)
    embeddings = _embeddings(config, projection)
    network = TrainedNetwork(folder, config.device, projection.info.features)
    references = [ImageReference(name, name) for name in config.images]
    images = Split.of(references, image_keys(config.images), [[] for _ in references])
    workers = min(config.workers, len(images) // config.batch_size)  # a few images are loaded faster without
    found: dict[str, Explanation] = {}
    unreadable: list[str] = []
    for output in network.infer(images, config.batch_size, workers, "Explaining", show=False):
        queries = projection.of_images(output.features).cpu().numpy()
        scores, rows = nearest_rows(embeddings.vectors, queries, config.top, transform=projection.of_texts)
        near = _neighbors(embeddings, config.descriptions, scores, rows)
        predictions = top_predictions(network.info, output.logits, config.top)
        for index, best, neighbors in zip(output.batch.indices.tolist(), predictions, near, strict=True):
            name = images.reference(index).name
            found[name] = Explanation(name, best, neighbors)
        unreadable += output.batch.unreadable
    explanations = [found[name] for name in config.images if name in found]
    with row_writer(config.out) as write:
        for one in explanations:
            write(asdict(one))
    return ExplainResult(explanations, unreadable, config.out)


def _embeddings(config: ExplainConfig, projection: Projection) -> EmbeddingSet:
    folder = config.embeddings or Path(projection.space.embeddings)
    if not folder.exists():
        raise ArtifactError(
            f"The embedding set {folder}, which the run was trained with, is not there. Name it with --embeddings."
        )
    embeddings = EmbeddingSet(folder)
    projection.check_set(embeddings)
    return embeddings


def _neighbors(
    embeddings: EmbeddingSet, descriptions: Path | None, scores_QN: np.ndarray, rows_QN: np.ndarray
) -> list[list[Neighbor]]:
    """Return the descriptions behind rows of an embedding set, for each of Q images its N nearest."""
    path = descriptions or Path(embeddings.meta.get("descriptions") or "an unknown place")
    if not path.is_file():
        raise ArtifactError(f"There is no description set at {path}. Name it with --descriptions.")
    distinct = np.unique(rows_QN)
    index = embeddings.index()
    wanted = index.filter(pc.is_in(index["row"], value_set=pa.array(distinct))).to_pylist()
    first = {one["row"]: one for one in reversed(wanted)}  # thousands of images may share a text
    row_of = {(one["key"], one["prompt"], one["describer"], one["sample"]): row for row, one in first.items()}
    listed = ", ".join(f"'{key}'" for key in sorted({key for key, *_ in row_of}))
    texts: dict[int, tuple[str, str, str]] = {}
    with DescriptionSet(path) as store:
        images = store.images()
        for one in store.select(f"key IN ({listed})"):
            row = row_of.get((one.key, one.prompt, one.describer, one.sample))
            if row is not None:
                texts[row] = (one.text, *images.get(one.key, (one.key[:12], "")))
    if missing := len(distinct) - len(texts):
        raise ArtifactError(
            f"{path} lacks the texts of {missing} of {len(distinct)} vectors of {embeddings.folder}. Name the "
            "description set that it was made of with --descriptions."
        )
    return [
        [Neighbor(score, *texts[row]) for score, row in zip(*pair, strict=True)]
        for pair in zip(scores_QN.tolist(), rows_QN.tolist(), strict=True)
    ]
