"""`sightwords audit`: the images whose description contradicts their label most.

Each label is scored by what is learned from images of the other folds, none of which shares a text with it.

Shapes: N labeled and described images, D width of the text vectors, F width of the image features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor

from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError, DataError
from sightwords.files import row_writer
from sightwords.hub import choose_device
from sightwords.images.dataset import Dataset, Split, all_keys, locate, open_dataset
from sightwords.images.decode import thumbnail_uri
from sightwords.images.gallery import Card, write_gallery
from sightwords.images.references import ImageReference
from sightwords.labels.config import AuditConfig
from sightwords.labels.noise import Probe, folds_of, groups_of, prompt_warnings
from sightwords.models.inference import TrainedNetwork
from sightwords.models.run_folder import RunFolder
from sightwords.progress import Progress, duration, stopwatch
from sightwords.text.embedding_set import EmbeddingSet

_Score = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # known (P, D), labels (P,), others (M, D), K -> (M, K)
_NUM_SHOWN = 10
_MIN_RATIO = 10  # chosen on swapped labels of emoji, seeds 100 and 101: two thirds of those it flagged were wrong
_NOTES = (
    "The most suspicious labels come first. Suspicion is the mean of the image's ranks by the figures below it, 1 at "
    "most. Each figure comes from a classifier that has seen neither the image nor another one with the same text.",
    "Text similarity: cosine of the description with the mean description of its label's class, minus that with the "
    "best other class. Text probability and image probability: the label's probability by linear classifiers on the "
    "text vectors and on the image features.",
)


@dataclass(frozen=True)
class AuditRow:
    """An image in the table; the fields are its columns.

    Attributes:
        suspicion: from 0 to 1; rank 1 has the highest.
        label: class id; `suggested` is that of the class that fits better, empty where the label fits best.
        text_similarity: a difference of cosines, from -2 to 2.
        text_probability: of the label, from 0 to 1.
        image_probability: of the label, from 0 to 1; None without a run.
    """

    rank: int
    suspicion: float
    is_suspect: bool
    split: str
    image: str
    label: str
    label_name: str
    suggested: str
    suggested_name: str
    text_similarity: float
    text_probability: float
    image_probability: float | None
    description: str
    key: str


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes:
        out: folder with `audit.csv` and `audit.html`.
        num_images: labeled images with a description.
        num_suspects: those whose label is probably wrong.
        worst: the most suspicious ones.
        notes: what to know about the figures.
        seconds: duration.
    """

    out: Path
    num_images: int
    num_suspects: int
    worst: list[AuditRow]
    notes: list[str]
    seconds: float

    def summary(self) -> str:
        """Return what was found, in a few lines."""
        lines = [
            f"{row.image}: {row.label_name}" + (f", rather {row.suggested_name}" if row.suggested else "")
            for row in self.worst
        ]
        lines.append(
            f"{self.num_suspects} of {self.num_images} labels are probably wrong (look before you change them); took "
            f"{duration(self.seconds)}."
        )
        return "\n".join([*lines, *self.notes, f"Wrote {self.out / 'audit.csv'} and {self.out / 'audit.html'}"])

    @property
    def next_command(self) -> str:
        """Empty: a person looks at the page."""
        return ""


@dataclass(frozen=True)
class AuditData:
    """The N images.

    Attributes:
        splits: images of each split, by its name; together the N, in this order.
        class_ids: class ids as the data has them, in the order of the labels.
        class_names: readable names, same order.
        labels: classes, int64, (N,).
        vectors: mean of the unit vectors of each image's descriptions, float32, (N, D).
        groups: the same number for images that share a text, int64, (N,).
        left_out: which images are not among the N, as sentences.
        features: image features of a run, float32, (N, F), NaN where an image cannot be read; None without a run.
    """

    splits: dict[str, Split]
    class_ids: list[str]
    class_names: list[str]
    labels: np.ndarray
    vectors: np.ndarray
    groups: np.ndarray
    left_out: list[str] = field(default_factory=list)
    features: np.ndarray | None = None


@dataclass(frozen=True)
class OutOfFold:
    """Scores of each image by what was learned from the other folds, float32, (N,).

    Attributes:
        own: of the image's label.
        best: of the best other class.
        other: that class, int64, (N,).
    """

    own: np.ndarray
    best: np.ndarray
    other: np.ndarray

    @property
    def margin(self) -> np.ndarray:
        """How far the label is ahead of the best other class, float32, (N,); negative where it is behind."""
        return np.asarray(self.own - self.best)


@dataclass(frozen=True)
class LabelScores:
    """How suspicious each label is.

    Attributes:
        similarity: cosine of the text with the mean text of each class.
        text: probabilities by a linear probe of the text vectors.
        image: probabilities by a linear probe of the image features; None without a run.
        suspicion: mean of the ranks by all of these, float64, (N,), in (0, 1]; 1 where all rank the label last.
        suggested: the class that fits better, int64, (N,), -1 where the label fits best.
        is_suspect: whether the label is probably wrong, bool, (N,): similarity and text probe prefer the same other
            class, and the probe finds it ten times likelier than the label.
    """

    similarity: OutOfFold
    text: OutOfFold
    image: OutOfFold | None
    suspicion: np.ndarray
    suggested: np.ndarray
    is_suspect: np.ndarray


def audit(config: AuditConfig) -> AuditResult:
    """Rank labeled images by how much their descriptions contradict their labels.

    Raises:
        ConfigError: images have several labels.
        DataError: the images cannot be used.
        ArtifactError: a set is missing, or was not made from these images.
    """
    with stopwatch() as seconds, DescriptionSet(config.descriptions) as descriptions:
        embeddings = EmbeddingSet(config.embeddings)
        dataset = open_dataset(config)
        data = audit_data(dataset, embeddings)
        texts = first_texts(descriptions, embeddings, all_keys(data.splits))
        unreadable = [f"{problem.name}: {problem.reason}" for problem in dataset.problems]
        if config.run:
            features, more = image_features(config, data.splits)
            data, unreadable = replace(data, features=features), [*unreadable, *more]
        scores = score_labels(data, config.folds, config.seed, choose_device(config.device))
        notes = [*prompt_warnings(embeddings), *data.left_out]
        if unreadable:
            notes.append(f"{len(unreadable)} images could not be read, such as {unreadable[0]}")
        num_suspects = int(scores.is_suspect.sum())
        order = np.argsort(-scores.suspicion, kind="stable").tolist()
        rows = (_row(rank, i, data, scores, texts) for rank, i in enumerate(order, 1))
        first = list(islice(rows, max(config.top, _NUM_SHOWN)))
        with row_writer(config.out / "audit.csv") as write:
            for row in chain(first, rows):
                write(asdict(row))
        figures = {"Images": len(order), "Probably wrong labels": num_suspects, "Classes": len(data.class_ids)}
        references = [images.reference(i) for _, images, i in (locate(data.splits, i) for i in order[: config.top])]
        _write_page(config, figures, list(zip(first, references, strict=False)), notes)
    return AuditResult(config.out, len(order), num_suspects, first[:_NUM_SHOWN], notes, seconds[0])


def audit_data(dataset: Dataset, embeddings: EmbeddingSet) -> AuditData:
    """Return the labeled and described images of all splits.

    Raises:
        ConfigError: images have several labels.
        ArtifactError: none of the images has a description in the set.
        DataError: fewer than two classes are left.
    """
    if dataset.multi_label:
        raise ConfigError("An audit needs one label per image; these images have several.")
    labeled = {
        name: images.subset(np.flatnonzero(images.first_labels() >= 0)) for name, images in dataset.splits.items()
    }
    num_images = sum(map(len, labeled.values()))
    num_unlabeled = sum(map(len, dataset.splits.values())) - num_images
    splits = described_splits(labeled, embeddings, "labeled images")
    labels = np.concatenate([images.first_labels() for images in splits.values()])
    if len(np.unique(labels)) < 2:
        raise DataError("An audit needs described images of at least two classes.")
    rows = embeddings.rows_of(all_keys(splits))
    vectors, groups = embeddings.means(rows), groups_of(rows.owners, rows.rows, len(labels))
    counts = {"labeled images have no description": num_images - len(labels), "images have no label": num_unlabeled}
    left_out = [f"{count} {what} and were left out." for what, count in counts.items() if count]
    return AuditData(
        splits, dataset.class_ids, dataset.class_names, labels=labels, vectors=vectors, groups=groups, left_out=left_out
    )


def described_splits(splits: Mapping[str, Split], embeddings: EmbeddingSet, kind: str = "images") -> dict[str, Split]:
    """Return the described images of each split that has any; `kind` is what the error calls them.

    Raises:
        ArtifactError: none has a description in the set.
    """
    found = {}
    for name, images in splits.items():
        described = np.flatnonzero(embeddings.rows_of(images.keys()).num_texts > 0)
        if len(described):
            found[name] = images.subset(described)
    if not found:
        raise ArtifactError(
            f"None of {sum(map(len, splits.values()))} {kind} has a description in {embeddings.folder}. Was it made "
            "from them? Describe them with: sightwords describe IMAGES"
        )
    return found


def image_features(config: AuditConfig, splits: dict[str, Split]) -> tuple[np.ndarray, list[str]]:
    """Return the run's feature of each image, float32, (N, F), NaN where it cannot be read, and which these are."""
    assert config.run is not None
    network = TrainedNetwork(RunFolder(config.run), config.device)
    found: dict[int, np.ndarray] = {}
    unreadable: list[str] = []
    start = 0
    for name, images in splits.items():
        for output in network.infer(images, config.batch_size, config.workers, f"Features of the {name} images"):
            found |= dict(zip((output.batch.indices + start).tolist(), output.features.cpu().numpy(), strict=True))
            unreadable += output.batch.unreadable
        start += len(images)
    if not found:
        raise DataError(f"None of {start} images can be read, such as {unreadable[0]}")
    features = np.full((start, len(next(iter(found.values())))), np.nan, np.float32)
    features[list(found)] = list(found.values())
    return features, unreadable


def score_labels(
    data: AuditData, num_folds: int = 10, seed: int = 0, device: torch.device | None = None, show: bool = True
) -> LabelScores:
    """Score each label by the texts, and by the image features where there are any; no device is the CPU.

    Each of `num_folds` folds, drawn by `seed`, is scored by what is learned from the others.
    """
    folds, num_classes = folds_of(data.groups, data.labels, num_folds, seed), len(data.class_ids)

    def scored(score: _Score, vectors: np.ndarray) -> OutOfFold:
        found = _out_of_fold(score, torch.from_numpy(vectors).to(device or "cpu"), data.labels, folds, num_classes)
        progress.advance(len(folds))
        return found

    total = len(folds) * (2 + (data.features is not None))
    with Progress("Auditing", total, "labels", enabled=show) as progress:
        similarity, text = scored(_centroid_cosines, data.vectors), scored(_probe_probabilities, data.vectors)
        image = None
        if data.features is not None:
            unread = np.isnan(data.features[:, 0])
            filled = np.where(unread[:, None], data.features[~unread].mean(0), data.features)
            found = scored(_probe_probabilities, filled)
            middle = np.median(found.own)  # neither good nor bad where the image was not read
            image = OutOfFold(np.where(unread, middle, found.own), np.where(unread, middle, found.best), found.other)
    probes = [text] if image is None else [text, image]
    # ranks need no scale that is common to cosines and probabilities
    ranks = np.mean([rankdata(-values) for values in (similarity.margin, *(probe.own for probe in probes))], axis=0)
    suggested = np.full(len(ranks), -1)
    for scores in (similarity, *reversed(probes)):  # the text's probe has the last word
        suggested = np.where(scores.margin < 0, scores.other, suggested)
    is_suspect = (similarity.other == text.other) & (similarity.margin < 0) & (text.best >= _MIN_RATIO * text.own)
    return LabelScores(similarity, text, image, ranks / len(ranks), suggested, is_suspect)


def _out_of_fold(
    score: _Score, vectors_ND: Tensor, labels_N: np.ndarray, folds_N: np.ndarray, num_classes: int
) -> OutOfFold:
    """Score each fold by the others."""
    own, best, other = (np.empty(len(labels_N), kind) for kind in (np.float32, np.float32, np.int64))
    labels = torch.from_numpy(labels_N).to(vectors_ND.device)
    for fold in np.unique(folds_N):
        is_out = torch.from_numpy(folds_N == fold).to(labels.device)
        scores = score(vectors_ND[~is_out], labels[~is_out], vectors_ND[is_out], num_classes).float()
        label = labels[is_out][:, None]
        highest = scores.scatter(1, label, -torch.inf).max(1)
        out = folds_N == fold
        own[out] = scores.gather(1, label)[:, 0].cpu()
        best[out], other[out] = highest.values.cpu(), highest.indices.cpu()
    return OutOfFold(own, best, other)


def _centroid_cosines(known_PD: Tensor, labels_P: Tensor, others_MD: Tensor, num_classes: int) -> Tensor:
    """Return the cosine of each vector with the mean vector of each class, (M, K); -1 for a class without images."""
    total_KD = known_PD.new_zeros(num_classes, known_PD.shape[1]).index_add_(0, labels_P, F.normalize(known_PD, dim=1))
    cosines = F.normalize(others_MD, dim=1) @ F.normalize(total_KD, dim=1).T
    return torch.where(torch.bincount(labels_P, minlength=num_classes) > 0, cosines, -1.0)


def _probe_probabilities(known_PD: Tensor, labels_P: Tensor, others_MD: Tensor, num_classes: int) -> Tensor:
    return Probe.fit(known_PD, labels_P, num_classes).logits(others_MD).softmax(1)


def _row(rank: int, position: int, data: AuditData, scores: LabelScores, texts: Sequence[str]) -> AuditRow:
    split, images, index = locate(data.splits, position)
    label, suggested = int(data.labels[position]), int(scores.suggested[position])
    return AuditRow(
        rank=rank,
        suspicion=round(float(scores.suspicion[position]), 5),
        is_suspect=bool(scores.is_suspect[position]),
        split=split,
        image=images.reference(index).name,
        label=data.class_ids[label],
        label_name=data.class_names[label],
        suggested=data.class_ids[suggested] if suggested >= 0 else "",
        suggested_name=data.class_names[suggested] if suggested >= 0 else "",
        text_similarity=round(float(scores.similarity.margin[position]), 4),
        text_probability=round(float(scores.text.own[position]), 4),
        image_probability=None if scores.image is None else round(float(scores.image.own[position]), 4),
        description=texts[position],
        key=images.key(index),
    )


def first_texts(descriptions: DescriptionSet, embeddings: EmbeddingSet, keys: Sequence[str]) -> list[str]:
    """Return the first description of each image, of the prompts that the embedding set was made of."""
    wanted, prompts = set(keys), set(embeddings.meta.get("prompts", []))
    found: dict[str, str] = {}
    for one in descriptions.select():
        if one.key in wanted and (not prompts or one.prompt in prompts):
            found.setdefault(one.key, one.text)
    if not found:
        raise ArtifactError(
            f"{descriptions.path} describes none of the images of {embeddings.folder}. "
            "Name the set that it was made from."
        )
    return [found.get(key, "") for key in keys]


def _write_page(
    config: AuditConfig, figures: dict[str, int], shown: Sequence[tuple[AuditRow, ImageReference]], notes: Sequence[str]
) -> None:
    """Write `audit.html` with some of the rows and their images."""
    sources = {"Descriptions": config.descriptions, "Embedding set": config.embeddings, "Image features": config.run}
    facts = {name: f"{count:,}" for name, count in figures.items()}
    facts |= {name: str(path) for name, path in sources.items() if path}
    title, cards = f"Audit of {config.images or config.train}", [_card(row, reference) for row, reference in shown]
    write_gallery(config.out / "audit.html", title, list(facts.items()), cards, (*_NOTES, *notes))


def _card(row: AuditRow, reference: ImageReference) -> Card:
    facts = [
        ("suspicion", f"{row.suspicion:.3f}"),
        ("text similarity", f"{row.text_similarity:+.2f}".replace("-", "\u2212")),
        ("text probability", f"{row.text_probability:.1%}"),
    ]
    if row.image_probability is not None:
        facts.append(("image probability", f"{row.image_probability:.1%}"))
    image = thumbnail_uri(reference)
    return Card(image, str(row.rank), row.label_name, row.suggested_name, row.description, facts=facts, name=row.image)
