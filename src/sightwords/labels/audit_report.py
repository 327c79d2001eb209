"""What an audit looks at: the labeled images that have a description, with its vector and its words.

Shapes: N images, D width of the text vectors.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, DataError
from sightwords.files import atomic_path
from sightwords.images.dataset import Dataset, Split, locate
from sightwords.images.decode import thumbnail_uri
from sightwords.images.gallery import Card, write_gallery
from sightwords.images.references import ImageReference
from sightwords.labels.findings import Findings
from sightwords.labels.noise import groups_of
from sightwords.text.embedding_set import EmbeddingSet


@dataclass(frozen=True)
class Evidence:
    """The N images.

    Attributes:
        parts: images of each split, by its name; together the N, in this order.
        class_ids: class ids, in the order of the labels.
        labels: classes, int64, (N,).
        vectors: mean of the unit vectors of each image's descriptions, float32, (N, D).
        groups: the same number for images that share a text, int64, (N,).
        num_undescribed: labeled images that have no description.
        num_unlabeled: images without a label.
    """

    parts: dict[str, Split]
    class_ids: list[str]
    labels: np.ndarray
    vectors: np.ndarray
    groups: np.ndarray
    num_undescribed: int
    num_unlabeled: int

    def __len__(self) -> int:
        return len(self.labels)

    def place(self, position: int) -> tuple[str, ImageReference, str]:
        """Return split, place and key of an image."""
        split, images, index = locate(self.parts, position)
        return split, images.reference(index), images.key(index)


def gather(dataset: Dataset, embeddings: EmbeddingSet) -> Evidence:
    """Return the labeled and described images of all splits.

    Raises:
        ArtifactError: none of the images has a description in the set.
        DataError: fewer than two classes are left.
    """
    parts: dict[str, Split] = {}
    num_images = num_unlabeled = 0
    for name, images in dataset.splits.items():
        labeled = images.subset(np.flatnonzero(images.first_labels() >= 0).tolist())
        num_images, num_unlabeled = num_images + len(labeled), num_unlabeled + len(images) - len(labeled)
        counts = embeddings.rows_of(labeled.keys()).num_texts
        if (counts > 0).any():
            parts[name] = labeled.subset(np.flatnonzero(counts > 0).tolist())
    if not parts:
        raise ArtifactError(
            f"None of {num_images} labeled images has a description in {embeddings.folder}. Was it made from them?"
        )
    labels = np.concatenate([images.first_labels() for images in parts.values()])
    if len(np.unique(labels)) < 2:
        raise DataError("An audit needs described images of at least two classes.")
    rows = embeddings.rows_of([key for images in parts.values() for key in images.keys()])  # noqa: SIM118
    vectors, groups = embeddings.means(rows), groups_of(rows.owners, rows.rows, len(labels))
    return Evidence(parts, dataset.class_ids, labels, vectors, groups, num_images - len(labels), num_unlabeled)


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


def told_prompts(descriptions: DescriptionSet, embeddings: EmbeddingSet) -> list[str]:
    """Return the names of the prompts that told the describer the label: such descriptions speak for any label."""
    used = set(embeddings.meta.get("prompts", []))
    prompts = [p for p in descriptions.prompts().values() if not used or p.name in used]
    return sorted({prompt.name for prompt in prompts if prompt.names_class or prompt.per_class})


COLUMNS = (
    "rank", "suspicion", "is_suspect", "split", "image", "label", "suggested", "text_agreement", "text_probability",
    "image_probability", "description", "key",
)  # fmt: skip
NOTES = (
    "The most suspicious labels come first: suspicion is the mean of the ranks that the witnesses give, 1 at most. No "
    "witness has seen the image that it judges, nor another one with the same text.",
    "Text agreement: cosine of the description with the mean description of its label's class, less that with the best "
    "other class. Text probability and image probability: what linear classifiers of the text vectors and of the image "
    "features give the label.",
)


def write_csv(path: Path, evidence: Evidence, findings: Findings, texts: Sequence[str]) -> None:
    """Write a row for every image, the most suspicious first."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, position in enumerate(findings.ranking.order().tolist()):
            writer.writerow(_row(number + 1, position, evidence, findings, texts))


def write_page(
    path: Path,
    title: str,
    facts: Sequence[tuple[str, str]],
    evidence: Evidence,
    findings: Findings,
    texts: Sequence[str],
    count: int,
    notes: Sequence[str] = (),
) -> None:
    """Write the page that shows the `count` most suspicious images."""
    order = findings.ranking.order()[:count].tolist()
    cards = [_card(number + 1, position, evidence, findings, texts) for number, position in enumerate(order)]
    write_gallery(path, title, facts, cards, (*NOTES, *notes))


def suggestion(position: int, evidence: Evidence, findings: Findings) -> str:
    """Return the class id that fits an image better than its label, empty where none does."""
    found = int(findings.ranking.suggested[position])
    return evidence.class_ids[found] if found >= 0 else ""


def _row(rank: int, position: int, evidence: Evidence, findings: Findings, texts: Sequence[str]) -> list[object]:
    split, member, key = evidence.place(position)
    ranking, image = findings.ranking, findings.image
    return [
        rank,
        f"{ranking.suspicion[position]:.5f}",
        int(ranking.is_suspect[position]),
        split,
        member.name,
        evidence.class_ids[evidence.labels[position]],
        suggestion(position, evidence, findings),
        f"{findings.agreement.margin[position]:.4f}",
        f"{findings.text.own[position]:.4f}",
        "" if image is None else f"{image.own[position]:.4f}",
        texts[position],
        key,
    ]


def _card(rank: int, position: int, evidence: Evidence, findings: Findings, texts: Sequence[str]) -> Card:
    _, member, _ = evidence.place(position)
    facts = [
        ("suspicion", f"{findings.ranking.suspicion[position]:.3f}"),
        ("text agreement", f"{findings.agreement.margin[position]:+.2f}".replace("-", "\u2212")),
        ("text probability", f"{findings.text.own[position]:.1%}"),
    ]
    if findings.image is not None:
        facts.append(("image probability", f"{findings.image.own[position]:.1%}"))
    label = evidence.class_ids[evidence.labels[position]]
    other = suggestion(position, evidence, findings)
    return Card(thumbnail_uri(member), str(rank), label, other, texts[position], facts, member.name)
