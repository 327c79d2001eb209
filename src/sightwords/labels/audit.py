"""`sightwords audit`: the images whose description contradicts their label most.

Shapes: N images, D width of the text vectors, F width of the image features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError, DataError
from sightwords.hub import choose_device
from sightwords.images.dataset import Dataset, Split, open_dataset
from sightwords.labels.audit_report import Row, audit_rows, write_csv, write_page
from sightwords.labels.config import AuditConfig
from sightwords.labels.noise import groups_of
from sightwords.labels.suspicion import find_suspicion
from sightwords.models.inference import TrainedNetwork
from sightwords.models.run_folder import RunFolder
from sightwords.progress import duration, stopwatch
from sightwords.text.embedding_set import EmbeddingSet

SPLITS = ("train", "val")
NUM_SHOWN = 10


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
    worst: list[Row]
    notes: list[str]
    seconds: float

    def summary(self) -> str:
        """Return what was found, in a few lines."""
        lines = [
            f"{row.image}: {row.label_name}{f', rather {row.suggested_name}' if row.suggested else ''}"
            for row in self.worst
        ]
        lines.append(
            f"{self.num_suspects} of {self.num_images} labels are probably wrong (look before you change them); took "
            f"{duration(self.seconds)}."
        )
        return "\n".join([*lines, *self.notes, f"Wrote {self.out / 'audit.csv'} and {self.out / 'audit.html'}"])

    @property
    def next_command(self) -> str:
        """Nothing follows by itself: a person looks at the page."""
        return ""


@dataclass(frozen=True)
class Described:
    """The N labeled images that have a description.

    Attributes:
        splits: images of each split, by its name; together the N, in this order.
        labels: classes, int64, (N,).
        vectors: mean of the unit vectors of each image's descriptions, float32, (N, D).
        groups: the same number for images that share a text, int64, (N,).
        num_undescribed: labeled images that have no description.
        num_unlabeled: images without a label.
    """

    splits: dict[str, Split]
    labels: np.ndarray
    vectors: np.ndarray
    groups: np.ndarray
    num_undescribed: int
    num_unlabeled: int

    def keys(self) -> list[str]:
        """Return the key of each image."""
        return [key for images in self.splits.values() for key in images.keys()]  # noqa: SIM118


def audit(config: AuditConfig) -> AuditResult:
    """Rank labeled images by how much their descriptions contradict their labels.

    Raises:
        ConfigError: images have several labels.
        DataError: the images cannot be used.
        ArtifactError: a set is missing, or was not made from these images.
    """
    with stopwatch() as seconds, DescriptionSet(config.descriptions) as descriptions:
        embeddings = EmbeddingSet(config.embeddings)
        dataset = open_dataset(config, SPLITS)
        if dataset.multi_label:
            raise ConfigError("An audit needs one label an image; these images have several.")
        images = described(dataset, embeddings)
        texts = first_texts(descriptions, embeddings, images.keys())
        features, unreadable = image_features(config, images) if config.run else (None, [])
        found = find_suspicion(
            images.vectors, images.labels, images.groups, len(dataset.class_ids), features,
            num_folds=config.folds, seed=config.seed, device=choose_device(config.device),
        )  # fmt: skip
        notes = _notes(images, prompts_with_label(descriptions, embeddings))
        unreadable = [*(f"{problem.name}: {problem.reason}" for problem in dataset.problems), *unreadable]
        if unreadable:
            notes.append(f"{len(unreadable)} images could not be read, such as {unreadable[0]}")
        rows = audit_rows(images.splits, images.labels, found, texts, dataset)
        num_suspects = int(found.is_suspect.sum())
        write_csv(config.out / "audit.csv", rows)
        facts = {"Images": f"{len(rows):,}", "Probably wrong labels": f"{num_suspects:,}"}
        facts |= {"Classes": f"{len(dataset.class_ids):,}", "Descriptions": str(config.descriptions)}
        facts |= {"Vectors": str(config.embeddings)} | ({"Image features": str(config.run)} if config.run else {})
        title = f"Audit of {config.images or config.train}"
        write_page(config.out / "audit.html", title, facts, rows[: config.top], images.splits, notes)
    return AuditResult(config.out, len(rows), num_suspects, rows[:NUM_SHOWN], notes, seconds[0])


def described(dataset: Dataset, embeddings: EmbeddingSet) -> Described:
    """Return the labeled and described images of all splits.

    Raises:
        ArtifactError: none of the images has a description in the set.
        DataError: fewer than two classes are left.
    """
    splits: dict[str, Split] = {}
    num_labeled = num_unlabeled = 0
    for name, images in dataset.splits.items():
        labeled = images.subset(np.flatnonzero(images.first_labels() >= 0).tolist())
        num_labeled, num_unlabeled = num_labeled + len(labeled), num_unlabeled + len(images) - len(labeled)
        counts = embeddings.rows_of(labeled.keys()).num_texts
        if (counts > 0).any():
            splits[name] = labeled.subset(np.flatnonzero(counts > 0).tolist())
    if not splits:
        raise ArtifactError(
            f"None of {num_labeled} labeled images has a description in {embeddings.folder}. Was it made from them?"
        )
    labels = np.concatenate([images.first_labels() for images in splits.values()])
    if len(np.unique(labels)) < 2:
        raise DataError("An audit needs described images of at least two classes.")
    rows = embeddings.rows_of([key for images in splits.values() for key in images.keys()])  # noqa: SIM118
    groups = groups_of(rows.owners, rows.rows, len(labels))
    return Described(splits, labels, embeddings.means(rows), groups, num_labeled - len(labels), num_unlabeled)


def first_texts(descriptions: DescriptionSet, embeddings: EmbeddingSet, keys: Sequence[str]) -> list[str]:
    """Return the first description of each image, of the prompts that the embedding set was made of.

    Raises:
        ArtifactError: the set describes none of the images.
    """
    wanted, prompts = set(keys), set(embeddings.meta.get("prompts", []))
    found: dict[str, str] = {}
    for one in descriptions.select():
        if one.key in wanted and (not prompts or one.prompt in prompts):
            found.setdefault(one.key, one.text)
    if not found:
        raise ArtifactError(f"{descriptions.path} describes none of the images of {embeddings.folder}. Name its own.")
    return [found.get(key, "") for key in keys]


def prompts_with_label(descriptions: DescriptionSet, embeddings: EmbeddingSet) -> list[str]:
    """Return the names of the prompts that give the describer the label: such descriptions agree with any label."""
    used = set(embeddings.meta.get("prompts", []))
    prompts = [p for p in descriptions.prompts().values() if not used or p.name in used]
    return sorted({prompt.name for prompt in prompts if prompt.names_class or prompt.per_class})


def image_features(config: AuditConfig, images: Described) -> tuple[np.ndarray, list[str]]:
    """Return the run's feature of each image, float32, (N, F), NaN where it cannot be read, and what these are."""
    assert config.run is not None
    network = TrainedNetwork(RunFolder(config.run), config.device)
    parts: list[np.ndarray] = []
    unreadable: list[str] = []
    for name, split in images.splits.items():
        found: dict[int, torch.Tensor] = {}
        for output in network.infer(split, config.batch_size, config.workers, f"Features of the {name} images"):
            found |= dict(zip(output.batch.indices.tolist(), output.features.cpu(), strict=True))
            unreadable += output.batch.unreadable
        empty = torch.full_like(next(iter(found.values())), torch.nan)
        parts.append(torch.stack([found.get(i, empty) for i in range(len(split))]).numpy())
    return np.concatenate(parts), unreadable


def _notes(images: Described, with_label: list[str]) -> list[str]:
    notes = []
    if with_label:
        notes.append(
            f"The prompt {', '.join(with_label)} gives the describer the label, so these descriptions agree with wrong "
            "labels too, and an audit finds fewer of them. Describe with --prompt plain for an audit."
        )
    if images.num_undescribed:
        notes.append(f"{images.num_undescribed} labeled images have no description and were left out.")
    if images.num_unlabeled:
        notes.append(f"{images.num_unlabeled} images have no label and were left out.")
    return notes
