"""`sightwords audit`: the images whose description contradicts their label most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError
from sightwords.hub import choose_device
from sightwords.images.dataset import open_dataset
from sightwords.labels.audit_report import (
    Evidence,
    first_texts,
    gather,
    suggestion,
    told_prompts,
    write_csv,
    write_page,
)
from sightwords.labels.config import AuditConfig
from sightwords.labels.findings import Findings, find
from sightwords.models.inference import TrainedNetwork
from sightwords.models.run_folder import RunFolder
from sightwords.progress import duration, stopwatch
from sightwords.text.embedding_set import EmbeddingSet

SPLITS = ("train", "val")
_NUM_SHOWN = 10


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes:
        out: folder with `audit.csv` and `audit.html`.
        num_images: labeled images with a description.
        num_suspects: those whose label is probably wrong.
        worst: (name, label, suggested class, description) of the most suspicious ones.
        notes: what to know about the figures.
        seconds: duration.
    """

    out: Path
    num_images: int
    num_suspects: int
    worst: list[tuple[str, str, str, str]]
    notes: list[str]
    seconds: float

    def summary(self) -> str:
        """Return what was found, in a few lines."""
        lines = [f"{name}: {label}{f', rather {other}' if other else ''}" for name, label, other, _ in self.worst]
        lines.append(
            f"{self.num_suspects} of {self.num_images} labels are probably wrong (look before you change them); took "
            f"{duration(self.seconds)}."
        )
        return "\n".join([*lines, *self.notes, f"Wrote {self.out / 'audit.csv'} and {self.out / 'audit.html'}"])

    @property
    def next_command(self) -> str:
        """Nothing follows by itself: a person looks at the page."""
        return ""


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
        evidence = gather(dataset, embeddings)
        keys = [key for images in evidence.parts.values() for key in images.keys()]  # noqa: SIM118
        texts = first_texts(descriptions, embeddings, keys)
        told = told_prompts(descriptions, embeddings)
        device = choose_device(config.device)
        features, unreadable = image_features(config, evidence) if config.run else (None, [])
        num_classes = len(evidence.class_ids)
        about = (evidence.vectors, evidence.labels, evidence.groups, num_classes, features)
        findings = find(*about, config.folds, config.seed, device)
        notes = _notes(evidence, told, [*(f"{p.name}: {p.reason}" for p in dataset.problems), *unreadable])
        num_suspects = int(findings.ranking.is_suspect.sum())
        write_csv(config.out / "audit.csv", evidence, findings, texts)
        facts = _facts(config, evidence, num_suspects)
        title = f"Audit of {config.images or config.train}"
        write_page(config.out / "audit.html", title, facts, evidence, findings, texts, config.top, notes)
    worst = _worst(evidence, findings, texts)
    return AuditResult(config.out, len(evidence), num_suspects, worst, notes, seconds[0])


def image_features(config: AuditConfig, evidence: Evidence) -> tuple[np.ndarray, list[str]]:
    """Return the run's feature of each image, float32, (N, F), NaN where it cannot be read, and what these are."""
    assert config.run is not None
    network = TrainedNetwork(RunFolder(config.run), config.device)
    parts: list[np.ndarray] = []
    unreadable: list[str] = []
    for name, images in evidence.parts.items():
        found: dict[int, torch.Tensor] = {}
        for output in network.infer(images, config.batch_size, config.workers, f"Features of the {name} images"):
            found |= dict(zip(output.batch.indices.tolist(), output.features.cpu(), strict=True))
            unreadable += output.batch.unreadable
        empty = torch.full_like(next(iter(found.values())), torch.nan)
        parts.append(torch.stack([found.get(i, empty) for i in range(len(images))]).numpy())
    return np.concatenate(parts), unreadable


def _notes(evidence: Evidence, told: list[str], unreadable: list[str]) -> list[str]:
    notes = []
    if told:
        notes.append(
            f"The prompt {', '.join(told)} tells the describer the label, so these descriptions speak for wrong labels "
            "too, and an audit finds fewer of them. Describe with --prompt plain for an audit."
        )
    if evidence.num_undescribed:
        notes.append(f"{evidence.num_undescribed} labeled images have no description and were left out.")
    if evidence.num_unlabeled:
        notes.append(f"{evidence.num_unlabeled} images have no label and were left out.")
    if unreadable:
        notes.append(f"{len(unreadable)} images could not be read, such as {unreadable[0]}")
    return notes


def _facts(config: AuditConfig, evidence: Evidence, num_suspects: int) -> list[tuple[str, str]]:
    named = [("Descriptions", str(config.descriptions)), ("Vectors", str(config.embeddings))]
    if config.run:
        named.append(("Image features", str(config.run)))
    counted = [("Images", f"{len(evidence):,}"), ("Probably wrong labels", f"{num_suspects:,}")]
    return [*counted, ("Classes", f"{len(evidence.class_ids):,}"), *named]


def _worst(evidence: Evidence, findings: Findings, texts: list[str]) -> list[tuple[str, str, str, str]]:
    order = findings.ranking.order()[:_NUM_SHOWN].tolist()
    return [
        (
            evidence.place(i)[1].name,
            evidence.class_ids[evidence.labels[i]],
            suggestion(i, evidence, findings),
            texts[i],
        )
        for i in order
    ]
