"""Class probabilities of all images, from labels, descriptions and class names: what `label` writes and `train` reads.

`sightwords.labels.model` is fitted to some of the images and judges all of them.

Shapes: N images, K classes, T classes that are kept of each image, B images of a batch, D width of the text vectors.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightwords.errors import ArtifactError, DataError, SightwordsError
from sightwords.files import atomic_path
from sightwords.labels.model import MAX_ROUNDS, NAME_COUNT, NUM_FOLDS, Evidence, LabelModel, fit_labels
from sightwords.labels.noise import folds_of
from sightwords.progress import Progress
from sightwords.text.embedding_set import EmbeddingSet, TextRows
from sightwords.text.encode import encode_texts
from sightwords.text.encoders import reopen_encoder

FILE = "labels.npz"  # in the run's folder
MAX_CLASSES = 8  # kept of each image; the probability of the others goes to these in proportion
MIN_FITTED, MAX_FITTED, MAX_LOGITS = 8192, 65_536, 2**25  # images that the model is fitted to, and their logits
_BLOCK = 8192


@dataclass(frozen=True)
class LabelTargets:
    """Class probabilities of each training image, in columns that worker processes share.

    Attributes:
        classes: the most likely classes of each image, int32, (N, T).
        probabilities: theirs, float32, (N, T); rows sum to 1.
        num_classes: K.
        label_noise: rate of label noise, given or estimated.
    """

    classes: np.ndarray
    probabilities: np.ndarray
    num_classes: int
    label_noise: float

    def __call__(self, indices: np.ndarray) -> Tensor:
        """Return the targets of the images at B indices, float32, (B, K)."""
        targets = torch.zeros(len(indices), self.num_classes)
        classes, probabilities = self.classes[indices], self.probabilities[indices]
        return targets.scatter_(1, torch.from_numpy(classes).long(), torch.from_numpy(probabilities))

    def save(self, path: Path) -> None:
        """Store them in one step."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> LabelTargets:
        """Return what `save` stored.

        Raises:
            ArtifactError: the file is damaged.
        """
        try:
            with np.load(path) as found:
                numbers = int(found["num_classes"]), float(found["label_noise"])
                return cls(found["classes"], found["probabilities"], *numbers)
        except Exception as error:  # NumPy and zipfile raise errors of many kinds for a damaged file
            raise ArtifactError(f"{path} is damaged ({error}). Delete it: it will be made again.") from None


@dataclass(frozen=True)
class InferredLabels:
    """What labels, descriptions and class names say of each image together.

    Attributes:
        targets: class probabilities, of the classes that are most likely.
        num_inferred: images whose label was inferred; others keep theirs, or have neither label nor description.
        accuracy: part of the inferred labels that is expected to be right, 0 to 1; None where there are none.
        interval: 95% interval of it: over the images, and over how sure the texts may be.
    """

    targets: LabelTargets
    num_inferred: int
    accuracy: float | None
    interval: tuple[float, float]


def infer_labels(
    labels: np.ndarray,
    num_classes: int,
    embeddings: EmbeddingSet,
    rows: TextRows,
    names: np.ndarray | None = None,
    label_noise: float | None = None,
    *,
    other: bool = False,
    device: torch.device | None = None,
    show: bool = True,
) -> InferredLabels:
    """Return the class probabilities of each image by its label, its descriptions and the names of the classes.

    An image without a description keeps its label, and so does one whose class nothing but itself shows.

    Args:
        labels: int64, (N,), -1 where there is none.
        num_classes: K.
        embeddings: vectors of the descriptions.
        rows: which of them are of which image.
        names: unit vectors of the class names by the same encoder, float32, (K, D); None = not known.
        label_noise: rate of label noise; None estimates it, 0 trusts the labels.
        other: whether an image may be of none of the classes; that is class K then.
        device: where to compute; None = the CPU.
        show: whether to show progress.

    Raises:
        DataError: without names, fewer than three images have both a label and a description.
    """
    described = np.flatnonzero(rows.num_texts > 0)
    labeled = described[labels[described] >= 0]
    if names is None and len(labeled) < 3:
        raise DataError(f"{len(labeled)} images have both a label and a description; without class names it takes 3.")
    folds = _folds(labels, labeled, described)

    def tensors(indices: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        columns = embeddings.means(rows.of_images(indices)), labels[indices], folds[indices]
        vectors, given, fold = (torch.from_numpy(column).to(device or "cpu") for column in columns)
        return vectors, given, fold

    fitted = _fitted(labels, described, num_classes)
    known = None if names is None else torch.from_numpy(names).to(device or "cpu")
    title = "Correcting labels" if label_noise != 0 and len(labeled) else "Pseudo-labels"
    with Progress(title, MAX_ROUNDS + len(described), "steps", enabled=show) as progress:
        evidence = Evidence(*tensors(fitted), num_classes, known, label_noise, other)
        model = fit_labels(evidence, partial(progress.advance, 1))
        if label_noise is None and len(labeled):
            progress.message(f"Wrong labels, by estimate: {model.noise.rate:.1%}")
        inferred = described[~_keeps(labels, folds, fitted, model)[described]]
        progress.advance(MAX_ROUNDS + len(described) - len(inferred) - progress.done)  # fewer rounds may do
        classes, probabilities = _one_hot(labels, num_classes + other)
        expected = np.zeros(3)
        for start in range(0, len(inferred), _BLOCK):
            own = inferred[start : start + _BLOCK]
            classes[own], probabilities[own], right = _judged(model, *tensors(own), classes.shape[1])
            expected += right
            progress.advance(len(own))
    targets = LabelTargets(classes, probabilities, num_classes + other, model.noise.rate)
    return InferredLabels(targets, len(inferred), *_accuracy(expected, len(inferred)))


def _judged(
    model: LabelModel, vectors: Tensor, labels: Tensor, folds: Tensor, num_kept: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the most probable classes of B images, int32, and their probabilities, float32, both (B, T).

    And how many of the first are expected to be right, by the best, the lowest and the highest sharpness, (3,).
    """
    noise, logits = model.noise, model.logits(vectors, folds)
    best = noise.class_probabilities(logits, labels, len(model.names)).topk(num_kept)
    expected = []
    for sharpness in (noise.sharpness, *noise.plausible):
        varied = replace(noise, sharpness=sharpness).class_probabilities(logits, labels, len(model.names))
        expected.append(float(varied.gather(1, best.indices[:, :1]).double().sum()))
    probabilities = best.values / best.values.sum(1, keepdim=True)
    return best.indices.int().cpu().numpy(), probabilities.cpu().numpy(), np.array(expected)


def _accuracy(expected: np.ndarray, num_images: int) -> tuple[float | None, tuple[float, float]]:
    """Return the accuracy that is expected of images, and its 95% interval, each from 0 to 1.

    `expected` are right labels by the best, the lowest and the highest sharpness; the images are a sample, too.
    """
    if not num_images:
        return None, (0.0, 1.0)
    accuracy, low, high = (expected / num_images).tolist()
    error = 1.96 * math.sqrt(max(accuracy * (1 - accuracy), 0) / num_images)
    return accuracy, (max(0.0, low - error), min(1.0, high + error))


def name_vectors(names: Sequence[str], embeddings: EmbeddingSet, device: str = "auto") -> np.ndarray:
    """Return the unit vector of each class name by the encoder of an embedding set, float32, (K, D).

    A name may hold several phrasings, separated by `|`: their mean counts.

    Raises:
        ModelError: the encoder cannot be had, has other weights today, or knows none of the words of a name.
    """
    meta = embeddings.meta
    encoder = reopen_encoder(str(meta["encoder"]), str(meta["revision"]), meta.get("words"), device)
    phrasings = [[one.strip() for one in name.split("|") if one.strip()] or [name] for name in names]
    found = encode_texts(encoder, list(chain.from_iterable(phrasings))).astype(np.float32)
    means = np.add.reduceat(found, np.cumsum([0, *map(len, phrasings[:-1])]))
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def known_names(
    names: Sequence[str], embeddings: EmbeddingSet, labels: np.ndarray, device: str = "auto"
) -> np.ndarray | None:
    """Return the vectors of the class names, (K, D), where they can help; None where labels alone do as well.

    That is where each class has as many labels of described images as its name is worth, where all names are numbers,
    and where the encoder cannot be had.
    """
    if np.bincount(labels[labels >= 0], minlength=len(names)).min() >= NAME_COUNT or are_numbers(names):
        return None
    try:
        return name_vectors(names, embeddings, device)
    except (SightwordsError, KeyError) as error:
        logging.getLogger("sightwords").warning("Class names are not used: %s", error)
        return None


def are_numbers(names: Sequence[str]) -> bool:
    """Return whether the names of the classes say nothing of them."""
    return all(name.strip().isdecimal() for name in names)


def _folds(labels: np.ndarray, labeled: np.ndarray, described: np.ndarray) -> np.ndarray:
    """Return a fold for each image, int64, (N,), labels spread evenly.

    Images that share a text may be in different folds: each has its own label, which its fold's model has not seen.
    """
    folds = np.zeros(len(labels), np.int64)
    folds[described] = np.random.default_rng(0).permutation(len(described)) % NUM_FOLDS
    if len(labeled):
        folds[labeled] = folds_of(labeled, labels[labeled], NUM_FOLDS, seed=0)
    return folds


def _fitted(labels: np.ndarray, described: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the images that the model is fitted to: the labeled ones first, as many as time and memory allow."""
    most = min(MAX_FITTED, max(MIN_FITTED, MAX_LOGITS // num_classes))
    order = np.random.default_rng(1).permutation(described)
    return np.sort(order[np.argsort(labels[order] < 0, kind="stable")][:most])


def _keeps(labels: np.ndarray, folds: np.ndarray, fitted: np.ndarray, model: LabelModel) -> np.ndarray:
    """Return whether an image keeps its label, bool, (N,): none is wrong, or nothing else shows the label's class."""
    if not model.noise.rate:
        return labels >= 0
    if model.names.any():
        return np.zeros(len(labels), bool)
    labeled = fitted[labels[fitted] >= 0]
    counts = np.zeros((NUM_FOLDS, len(model.names)), np.int64)
    np.add.at(counts, (folds[labeled], labels[labeled]), 1)
    return np.asarray((labels >= 0) & ((counts.sum(0) - counts)[folds, labels] == 0))


def _one_hot(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return classes int32 (N, T) and probabilities float32 (N, T) of labels as they are."""
    classes = ((labels[:, None] + np.arange(min(MAX_CLASSES, num_classes))) % num_classes).astype(np.int32)
    probabilities = np.zeros(classes.shape, np.float32)
    probabilities[:, 0] = 1
    return classes, probabilities
