"""`--label-noise-correction` and `--pseudo-labels`: the class probabilities to train on, from labels and descriptions.

They are computed once, before training, and stored in the run. Out-of-fold probes (linear classifiers of the text
vectors, each fitted to the images of other folds) predict the class of each described image; `sightwords.labels.noise`
combines that with the label, if there is one.

Shapes: N training images, K classes, T classes that are kept of each image, B images of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightwords.errors import ArtifactError, DataError
from sightwords.files import atomic_path
from sightwords.images.dataset import Split
from sightwords.labels.noise import LabelNoise, Probe, folds_of
from sightwords.progress import Progress
from sightwords.text.embedding_set import EmbeddingSet, TextRows

FILE = "labels.npz"  # in the run's folder
NUM_FOLDS = 5
MAX_CLASSES = 8  # kept of each image; the probability of the others goes to these in proportion
MAX_FITTED = 65_536  # images that the probes are fitted to
MAX_LOGITS = 2**25  # of the images by which the noise rate is estimated
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


def label_targets(
    images: Split,
    num_classes: int,
    embeddings: EmbeddingSet,
    rows: TextRows,
    label_noise: float | None,
    device: torch.device,
    show: bool = True,
) -> LabelTargets:
    """Return the class probabilities of each image, given its label and what the probes say of its descriptions.

    An image without a description keeps its label, and so does the only image of a class. Without a label the probes
    alone decide.

    Args:
        images: training images, each with one label, or with a description.
        num_classes: K.
        embeddings: vectors of their descriptions.
        rows: which of them are whose.
        label_noise: rate of label noise; None estimates it, 0 trusts the labels.
        device: where to compute.
        show: whether to show progress.

    Raises:
        DataError: fewer than three images have both a label and a description.
    """
    probes = _OutOfFoldProbes(images.first_labels(), num_classes, embeddings, rows, device)
    title = "Correcting labels" if label_noise != 0 else "Pseudo-labels"
    with Progress(title, NUM_FOLDS + len(probes.described), "steps", enabled=show) as progress:
        probes.fit(progress)
        noise = probes.noise(label_noise)
        if label_noise is None:
            progress.message(f"Wrong labels, by estimate: {noise.rate:.1%}")
        classes, probabilities = _one_hot(probes.labels, num_classes)
        predicted = probes.described if noise.rate else probes.unlabeled
        progress.advance(len(probes.described) - len(predicted))
        for start in range(0, len(predicted), _BLOCK):
            places = predicted[start : start + _BLOCK]
            logits, is_known = probes.logits(places)
            own = torch.from_numpy(probes.labels[places]).to(device)
            best = noise.class_probabilities(logits, own).topk(classes.shape[1])
            changed = places[is_known]
            classes[changed] = best.indices.cpu().numpy()[is_known]
            probabilities[changed] = (best.values / best.values.sum(1, keepdim=True)).cpu().numpy()[is_known]
            progress.advance(len(places))
    return LabelTargets(classes, probabilities, num_classes, noise.rate)


class _OutOfFoldProbes:
    """Classifiers of text vectors: each is fitted to all folds but one, and predicts that one."""

    def __init__(
        self, labels: np.ndarray, num_classes: int, embeddings: EmbeddingSet, rows: TextRows, device: torch.device
    ) -> None:
        self.labels, self.num_classes = labels, num_classes
        self._embeddings, self._rows, self._device = embeddings, rows, device
        self.described = np.flatnonzero(rows.num_texts > 0)
        labeled = self.described[labels[self.described] >= 0]
        self.unlabeled = self.described[labels[self.described] < 0]
        if len(labeled) < 3:
            raise DataError(
                f"{len(labeled)} training images have both a label and a description; 3 are needed at least."
            )
        # images that share a text may be in different folds: each has its own label, which its probe has not seen
        self._folds = np.full(len(labels), -1)
        self._folds[labeled] = folds_of(labeled, labels[labeled], NUM_FOLDS, seed=0)
        order = np.random.default_rng(0).permutation(labeled)
        self._fitted = np.sort(order[:MAX_FITTED])
        self._counted = np.sort(order[: max(1, MAX_LOGITS // num_classes)])
        self._has_class = np.zeros((NUM_FOLDS, num_classes), bool)
        self._probes: list[Probe] = []

    def fit(self, progress: Progress) -> None:
        """Fit the probe of each fold."""
        vectors, labels = self._vectors(self._fitted), torch.from_numpy(self.labels[self._fitted]).to(self._device)
        for fold in range(NUM_FOLDS):
            others = np.flatnonzero(self._folds[self._fitted] != fold)
            self._has_class[fold, self.labels[self._fitted[others]]] = True
            chosen = torch.from_numpy(others).to(self._device)
            self._probes.append(Probe.fit(vectors[chosen], labels[chosen], self.num_classes))
            progress.advance(1)

    def noise(self, label_noise: float | None) -> LabelNoise:
        """Return the noise rate and the calibration of the probes."""
        logits, is_known = self.logits(self._counted)
        if not is_known.any():
            return LabelNoise(0.0, 1.0)
        labels = torch.from_numpy(self.labels[self._counted[is_known]])
        # on the CPU: the likelihood is in float64, which not all devices have
        return LabelNoise.fit(logits.cpu()[torch.from_numpy(is_known)], labels, label_noise)

    def logits(self, places: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Return logits (P, K) of the images at P places, and for which the probe knows the label's class, (P,).

        An image without a label is in no fold: it gets the mean of all probes' logits.
        """
        vectors, folds = self._vectors(places), self._folds[places]
        weight = torch.from_numpy(np.where(folds < 0, 1 / NUM_FOLDS, 1)).to(vectors)
        logits = vectors.new_zeros(len(places), self.num_classes)
        for fold, probe in enumerate(self._probes):
            own = torch.from_numpy(np.flatnonzero((folds == fold) | (folds < 0))).to(self._device)
            logits[own] += weight[own, None] * probe.logits(vectors[own])
        return logits, self._has_class[folds, self.labels[places]] | (folds < 0)

    def _vectors(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(self._embeddings.means(self._rows.of_images(places))).to(self._device)


def _one_hot(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return classes int32 (N, T) and probabilities float32 (N, T) of labels as they are."""
    classes = ((labels[:, None] + np.arange(min(MAX_CLASSES, num_classes))) % num_classes).astype(np.int32)
    probabilities = np.zeros(classes.shape, np.float32)
    probabilities[:, 0] = 1
    return classes, probabilities
