"""What an audit looks at: the labeled images that have a description, with its vector and its words.

Shapes: N images, D width of the text vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightwords.artifacts.description_set import DescriptionSet
from sightwords.artifacts.embedding_set import EmbeddingSet
from sightwords.data.catalog import Catalog
from sightwords.data.image_set import ImageSet, locate
from sightwords.data.key import Member
from sightwords.errors import ArtifactError, DataError
from sightwords.labels import groups_of


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

    parts: dict[str, ImageSet]
    class_ids: list[str]
    labels: np.ndarray
    vectors: np.ndarray
    groups: np.ndarray
    num_undescribed: int
    num_unlabeled: int

    def __len__(self) -> int:
        return len(self.labels)

    def place(self, position: int) -> tuple[str, Member, str]:
        """Return split, place and key of an image."""
        split, images, index = locate(self.parts, position)
        return split, images.member(index), images.key(index)


def gather(catalog: Catalog, embeddings: EmbeddingSet) -> Evidence:
    """Return the labeled and described images of all splits.

    Raises:
        ArtifactError: none of the images has a description in the set.
        DataError: fewer than two classes are left.
    """
    parts: dict[str, ImageSet] = {}
    num_images = num_unlabeled = 0
    for name, images in catalog.splits.items():
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
    return Evidence(parts, catalog.class_ids, labels, vectors, groups, num_images - len(labels), num_unlabeled)


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
