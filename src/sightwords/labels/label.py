"""`sightwords label`: from descriptions and class names to labels, with how far they can be trusted.

`sightwords.labels.pseudo_labels` infers the class probabilities; this module reads images, class names and labels, and
writes a table and a page.

Shapes: N described images, K classes, D width of the text vectors.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import xlogy

from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError
from sightwords.files import row_writer
from sightwords.hub import choose_device
from sightwords.images.dataset import Dataset, Split, all_keys, locate, open_dataset, read_classes
from sightwords.images.decode import thumbnail_uri
from sightwords.images.gallery import Card, write_gallery
from sightwords.labels.audit import described_splits, first_texts
from sightwords.labels.config import LabelConfig
from sightwords.labels.noise import prompt_warnings
from sightwords.labels.pseudo_labels import InferredLabels, are_numbers, infer_labels, name_vectors
from sightwords.labels.suggest import suggest
from sightwords.labels.table import LabelRow, Source
from sightwords.progress import duration, stopwatch
from sightwords.text.embedding_set import EmbeddingSet

_LEAST = 0.01  # probability of a class that the table names
_NOTES = (
    "The least certain labels come first. A label comes from the descriptions, the names of the classes and the labels "
    "that are there, weighed by one likelihood; the probability is the label's.",
    "What descriptions do not say of a class, no probability shows: label a few images by hand to be sure.",
)
_SUGGESTED = "The first {count} are those to label next: their labels would tell most about the others."


@dataclass(frozen=True)
class LabelResult:
    """What labeling found.

    Attributes:
        config: the options.
        num_images: described images.
        sources: how many labels come from where, by source.
        label_noise: rate of wrong labels among those that were there; None without labels.
        accuracy: expected part of right labels among those that were inferred, 0 to 1; `interval` is its 95%
            interval; None where all labels were kept.
        agreement: with --ignore-labels, part of the labels that come out as they are, and part of them that the
            nearest class name would give, by the same vectors.
        notes: what to know about the figures.
        seconds: duration.
    """

    config: LabelConfig
    num_images: int
    sources: dict[Source, int]
    label_noise: float | None
    accuracy: float | None
    interval: tuple[float, float]
    agreement: tuple[float, float | None] | None
    notes: list[str]
    seconds: float

    @property
    def page(self) -> Path:
        """HTML file with the images, the least certain first."""
        return self.config.out.with_suffix(".html")

    def summary(self) -> str:
        """Return what was found, in a few lines."""
        counts = ", ".join(f"{count} {source}" for source, count in self.sources.items())
        lines = [f"Labeled {self.num_images} images in {duration(self.seconds)}: {counts}."]
        if self.label_noise is not None:
            kept = " The descriptions give no evidence of more; all were kept." if not self.label_noise else ""
            lines.append(f"Wrong labels among those that were there, by estimate: {self.label_noise:.1%}.{kept}")
        if self.accuracy is not None:
            lines.append(f"Expected accuracy of the labels that were inferred: {self.expected}.")
        if self.agreement is not None:
            own, names = self.agreement
            alone = "" if names is None else f"; the nearest class name alone gets {names:.1%} right"
            lines.append(f"Of the labels that were ignored, {own:.1%} come out{alone}.")
        return "\n".join([*lines, *self.notes, f"Wrote {self.config.out} and {self.page}"])

    @property
    def expected(self) -> str:
        """The expected accuracy, as text."""
        low, high = self.interval
        return "" if self.accuracy is None else f"{self.accuracy:.1%} [{low:.1%}, {high:.1%}]"

    @property
    def next_command(self) -> str:
        """What to run next: a training on these labels."""
        config = self.config
        sources = [config.images] if config.images else ["--train", config.train or ""]
        options = ["--labels", config.out, "--embeddings", config.embeddings, "--model", "resnet50", "--out", "RUN"]
        return shlex.join(map(str, ["sightwords", "train", *sources, *options]))


@dataclass(frozen=True)
class LabelData:
    """The N described images.

    Attributes:
        splits: images of each split, by its name; together the N, in this order.
        labels: that are there, class indices, int64, (N,), -1 where there is none.
        people: labels that people gave, class indices, int64, (N,), -1 where there is none.
        class_ids: all classes.
        class_names: readable names, same order.
    """

    splits: dict[str, Split]
    labels: np.ndarray
    people: np.ndarray
    class_ids: list[str]
    class_names: list[str]


def label(config: LabelConfig) -> LabelResult:
    """Label images by their descriptions.

    Raises:
        ConfigError: images have several labels, or nothing says what the classes are.
        DataError: the images or the class table cannot be used.
        ArtifactError: a set is missing, or was not made from these images.
        ModelError: the encoder that must read the class names cannot be had.
    """
    with stopwatch() as seconds, ExitStack() as stack:
        embeddings = EmbeddingSet(config.embeddings)
        path = config.descriptions or Path(embeddings.meta.get("descriptions") or "")
        store = stack.enter_context(DescriptionSet(path)) if config.descriptions or path.is_file() else None
        dataset = open_dataset(config, every_class=True)
        data = _label_data(dataset, embeddings, store)
        phrasings = _phrasings(config, data)
        keys = all_keys(data.splits)
        rows = embeddings.rows_of(keys)
        names = None if are_numbers(phrasings) else name_vectors(phrasings, embeddings, config.device)
        used = np.where(data.people >= 0, data.people, -1 if config.ignore_labels else data.labels)
        if names is None and (used < 0).all():
            raise ConfigError(
                f"The classes are called {', '.join(data.class_names[:3])} ..., which says nothing of them, and no "
                "label is used. Give their names with --classes, a table `id,name`."
            )
        inferred = infer_labels(
            used,
            len(data.class_ids),
            embeddings,
            rows,
            names,
            None if config.label_noise == "auto" else config.label_noise,
            other=config.other,
            device=choose_device(config.device),
        )
        # of a million images they take gigabytes
        vectors = embeddings.means(rows) if config.suggest or config.ignore_labels else None
        shown, sources = _write_table(config, data, inferred, vectors)
        result = LabelResult(
            config=config,
            num_images=len(keys),
            sources=sources,
            label_noise=inferred.targets.label_noise if (used >= 0).any() else None,
            accuracy=inferred.accuracy,
            interval=inferred.interval,
            agreement=None if vectors is None else _agreement(config, data, inferred, vectors, names),
            notes=[*prompt_warnings(embeddings), *_left_out(dataset, len(keys))],
            seconds=0.0,
        )
        texts = [""] * len(keys) if store is None else first_texts(store, embeddings, keys)
        _write_page(result, data, shown, texts)
    return replace(result, seconds=seconds[0])


def _label_data(dataset: Dataset, embeddings: EmbeddingSet, store: DescriptionSet | None) -> LabelData:
    if dataset.multi_label:
        raise ConfigError("Labels are of one class for each image; some of these images have several. Leave them out.")
    if len(dataset.class_ids) < 2:
        raise ConfigError(
            f"Labels need two classes at least; found {', '.join(dataset.class_ids) or 'none'}. Name the classes with "
            "--classes, a table `id,name` or a list of names."
        )
    splits = described_splits(dataset.splits, embeddings)
    places = {class_id: place for place, class_id in enumerate(dataset.class_ids)}
    given = {} if store is None else store.labels()
    if unknown := sorted({*given.values()} - {*places}):
        raise ConfigError(
            f"In browse, people gave the label {unknown[0]}, which is not among the classes "
            f"{', '.join(dataset.class_ids[:5])} ... Name all classes with --classes."
        )
    people = [places.get(given.get(key, ""), -1) for key in all_keys(splits)]
    labels = np.concatenate([images.first_labels() for images in splits.values()])
    return LabelData(splits, labels, np.array(people, np.int64), dataset.class_ids, dataset.class_names)


def _phrasings(config: LabelConfig, data: LabelData) -> list[str]:
    """Return the names of the classes in all phrasings, with what a description set says of each beside them.

    Raises:
        ArtifactError: the set has no text of a class by any of the names.
    """
    table = read_classes(config.classes, data.class_ids) if config.classes else {}
    names = [table.get(class_id, name) for class_id, name in zip(data.class_ids, data.class_names, strict=True)]
    if config.class_texts is None:
        return names
    with DescriptionSet(config.class_texts) as store:
        found = store.class_texts()
    if not found.keys() & set(data.class_names):
        raise ArtifactError(
            f"{config.class_texts} has no text of {', '.join(data.class_names[:3])} ... Make one with: sightwords "
            "describe IMAGES --prompt class_features"
        )
    texts = [[text.replace("|", "/") for text in found.get(name, [])] for name in data.class_names]
    return ["|".join([name, *own]) for name, own in zip(names, texts, strict=True)]


def _left_out(dataset: Dataset, num_described: int) -> list[str]:
    missing = sum(map(len, dataset.splits.values())) - num_described
    notes = [f"{missing} images have no description and were left out."] if missing else []
    if dataset.problems:
        notes.append(f"{len(dataset.problems)} images could not be read, such as {dataset.problems[0]}")
    return notes


def _write_table(
    config: LabelConfig, data: LabelData, inferred: InferredLabels, vectors: np.ndarray | None
) -> tuple[dict[int, LabelRow], dict[Source, int]]:
    """Write the rows: the suggested ones, then the least certain first.

    Returns:
        The rows of the page by their positions, in order, and how many labels come from where.
    """
    probabilities = inferred.targets.probabilities.astype(np.float64)
    is_open = np.where(data.people >= 0, 0, -xlogy(probabilities, probabilities).sum(1))
    places = np.zeros(len(is_open), np.int64)
    if config.suggest and vectors is not None:
        suggested = suggest(vectors, is_open, config.suggest)
        places[suggested] = np.arange(1, len(suggested) + 1)
    order = np.lexsort((probabilities[:, 0], np.where(places > 0, places, len(places) + 1)))
    shown: dict[int, LabelRow] = {}
    sources = Counter[Source]()
    with row_writer(config.out) as write:
        for position in order.tolist():
            row = _row(data, inferred, position, int(places[position]), config.ignore_labels)
            write(asdict(row))
            sources[row.source] += 1
            if len(shown) < config.top:
                shown[position] = row
    return shown, dict(sources)


def _row(data: LabelData, inferred: InferredLabels, position: int, suggested: int, ignored: bool) -> LabelRow:
    split, images, index = locate(data.splits, position)
    ids, given = data.class_ids, int(data.labels[position])
    classes, probabilities = inferred.targets.classes[position], inferred.targets.probabilities[position]
    best, probability = int(classes[0]), float(probabilities[0])
    source: Source = "pseudo-label" if given < 0 or ignored else "given" if best == given else "corrected"
    if data.people[position] >= 0:
        best, probability, source = int(data.people[position]), 1.0, "person"
        classes, probabilities = np.array([best]), np.ones(1)
    elif best == len(ids):
        source = "none"
    likely = {
        ids[place]: round(float(one), 4)
        for place, one in zip(classes.tolist(), probabilities, strict=True)
        if one >= _LEAST and place < len(ids)
    }
    return LabelRow(
        image=images.reference(index).name,
        label="" if source == "none" else ids[best],
        label_name="" if source == "none" else data.class_names[best],
        probability=round(probability, 4),
        source=source,
        given=ids[given] if given >= 0 else "",
        suggest=suggested,
        probabilities=json.dumps(likely, ensure_ascii=False),
        split=split,
        key=images.key(index),
    )


def _agreement(
    config: LabelConfig, data: LabelData, inferred: InferredLabels, vectors: np.ndarray, names: np.ndarray | None
) -> tuple[float, float | None] | None:
    """Return which part of the labels comes out of inference, and out of the nearest class name alone."""
    known = data.labels >= 0
    if not (config.ignore_labels and known.any()):
        return None
    nearest = None if names is None else float(((vectors @ names.T).argmax(1) == data.labels)[known].mean())
    return float((inferred.targets.classes[known, 0] == data.labels[known]).mean()), nearest


def _write_page(result: LabelResult, data: LabelData, shown: Mapping[int, LabelRow], texts: Sequence[str]) -> None:
    """Write the page with some of the rows and their images."""
    facts = [("Images", f"{result.num_images:,}"), *((name, f"{n:,}") for name, n in result.sources.items())]
    facts += [("Expected accuracy", result.expected)] if result.expected else []
    names = dict(zip(data.class_ids, data.class_names, strict=True))
    cards = []
    for rank, (position, row) in enumerate(shown.items(), 1):
        _, images, index = locate(data.splits, position)
        others = [(names[one], f"{p:.0%}") for one, p in json.loads(row.probabilities).items() if one != row.label]
        was = [("label that was there", names[row.given])] if row.given not in ("", row.label) else []
        cards.append(
            Card(
                thumbnail_uri(images.reference(index)),
                str(rank),
                f"{row.label_name or 'none of the classes'}, {row.probability:.0%}",
                text=texts[position],
                facts=[*others, *was, ("from", row.source)],
                name=row.image,
            )
        )
    num_suggested = sum(row.suggest > 0 for row in shown.values())
    notes = [*([_SUGGESTED.format(count=num_suggested)] if num_suggested else []), *_NOTES, *result.notes]
    write_gallery(result.page, f"Labels of {result.config.images or result.config.train}", facts, cards, notes)
