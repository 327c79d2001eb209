"""`--label-noise-correction` and `--pseudo-labels`: the descriptions check labels and tell those that are missing.

It is done once, before the training starts.

Shapes: N training images, K classes, T classes that are kept of each image.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sightwords.descriptions.schema import Prompt
from sightwords.errors import ArtifactError, DataError
from sightwords.files import atomic_path
from sightwords.images.dataset import Split
from sightwords.labels.noise import LabelNoise, Probe, folds_of
from sightwords.models.run_folder import RunFolder
from sightwords.progress import Progress
from sightwords.text.embedding_set import EmbeddingSet, TextRows
from sightwords.training.distributed import Processes

NAME = "labels.npz"


@dataclass(frozen=True)
class LabelShares:
    """How likely it is of each image that it is of a class, in columns that worker processes share.

    Attributes:
        classes: the likeliest classes of each image, int32, (N, T).
        shares: their probabilities, float32, (N, T); rows sum to 1.
        num_classes: K.
        wrong: share of the labels that are wrong, by estimate.
    """

    classes: np.ndarray
    shares: np.ndarray
    num_classes: int
    wrong: float

    def __call__(self, indices: np.ndarray) -> Tensor:
        """Return the shares of the images at `indices`, float32, (B, K)."""
        targets = torch.zeros(len(indices), self.num_classes)
        return targets.scatter_(
            1, torch.from_numpy(self.classes[indices]).long(), torch.from_numpy(self.shares[indices])
        )


def save_labels(folder: RunFolder, labels: LabelShares, data: str) -> None:
    """Write the file.

    Args:
        folder: the run.
        labels: what to write.
        data: stands for images, labels and texts that it is made of.
    """
    folder.folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder.folder / NAME) as temporary, temporary.open("wb") as file:
        np.savez(
            file, classes=labels.classes, shares=labels.shares, num_classes=labels.num_classes, wrong=labels.wrong,
            data=np.array(data),
        )  # fmt: skip


def load_labels(folder: RunFolder, data: str) -> LabelShares | None:
    """Return what was saved, None where there is nothing, or something that was made of other data.

    Raises:
        ArtifactError: the file is damaged.
    """
    path = folder.folder / NAME
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            if str(found["data"]) != data:
                return None
            return LabelShares(found["classes"], found["shares"], int(found["num_classes"]), float(found["wrong"]))
    except Exception as error:  # NumPy and zipfile raise errors of many kinds for a damaged file
        raise ArtifactError(f"{path} is damaged ({error}). Delete it: it is made again.") from None


NUM_FOLDS = 5
MAX_CLASSES = 8  # kept of each image; what the others have goes to these in proportion
MAX_FITTED = 65_536  # images that the classifiers are fitted to
MAX_LOGITS = 2**25  # of the images by which the share of wrong labels is estimated
_BLOCK = 8192


def checked_labels(
    folder: RunFolder,
    images: Split,
    num_classes: int,
    embeddings: EmbeddingSet,
    share: float | None,
    group: Processes,
) -> LabelShares:
    """Return what to train towards; made by the first process, kept in the run, and read by the others and later.

    Args:
        folder: the run.
        images: training images, one label each, or none.
        num_classes: K.
        embeddings: vectors of their descriptions.
        share: of the labels that are wrong; None estimates it, 0 trusts them.
        group: the processes.
    """
    data = hashlib.sha256(images.key_bytes.tobytes() + images.first_labels().tobytes())
    data.update(f"{embeddings.meta} {share}".encode())
    if group.first and load_labels(folder, data.hexdigest()) is None:
        save_labels(folder, check_labels(images, num_classes, embeddings, share, group.device), data.hexdigest())
    group.wait()
    found = load_labels(folder, data.hexdigest())
    assert found is not None
    return found


def warnings_of(embeddings: EmbeddingSet) -> list[str]:
    """Return what speaks against checking labels by these descriptions."""
    asked = [Prompt(one["name"], one["version"], one["template"]) for one in embeddings.meta.get("prompt_texts", [])]
    told = sorted({prompt.name for prompt in asked if prompt.names_class})
    if not told:
        return []
    return [
        f"The prompt {', '.join(told)} tells the describer the label, so these descriptions cannot speak against it. "
        "Describe with --prompt plain to have labels checked."
    ]


def check_labels(
    images: Split,
    num_classes: int,
    embeddings: EmbeddingSet,
    share: float | None,
    device: torch.device,
    show: bool = True,
) -> LabelShares:
    """Return the shares of the classes, given the label and what classifiers of the other images' texts say.

    An image keeps its label where it has no description, and where no other image of its class is there to compare.
    Of an image without a label the texts alone decide.

    Args:
        images: training images, one label each, or none where they have a description.
        num_classes: K.
        embeddings: vectors of their descriptions.
        share: of the labels that are wrong; None estimates it, 0 trusts them.
        device: where to compute.
        show: whether to show progress.
    """
    witness = _Witness(images, num_classes, embeddings, device)
    title = "Checking labels" if share != 0 else "Labels from text"
    with Progress(title, NUM_FOLDS + len(witness.described), "steps", enabled=show) as progress:
        probes = witness.fit(progress)
        noise = witness.noise(probes, share)
        if share != 0:
            how = "by estimate" if share is None else "as told"
            progress.message(f"Labels that are wrong, {how}: {noise.share:.1%}")
        classes, shares = _as_they_are(witness.labels, num_classes)
        judged = witness.described if noise.share else witness.missing
        progress.advance(len(witness.described) - len(judged))
        for start in range(0, len(judged), _BLOCK):
            places = judged[start : start + _BLOCK]
            logits, known = witness.logits(probes, places)
            own = torch.from_numpy(witness.labels[places]).to(device)
            best = noise.shares(logits, own).topk(classes.shape[1])
            told = places[known]
            classes[told] = best.indices.cpu().numpy()[known]
            shares[told] = (best.values / best.values.sum(1, keepdim=True)).cpu().numpy()[known]
            progress.advance(len(places))
    return LabelShares(classes, shares, num_classes, noise.share)


class _Witness:
    """The texts of images, in parts each of which is judged by a classifier of the others."""

    def __init__(self, images: Split, num_classes: int, embeddings: EmbeddingSet, device: torch.device) -> None:
        self.labels, self.num_classes = images.first_labels(), num_classes
        self._set, self._device = embeddings, device
        self._rows: TextRows = embeddings.rows_of(images.keys())
        self.described = np.flatnonzero(self._rows.num_texts > 0)
        labeled = self.described[self.labels[self.described] >= 0]
        self.missing = self.described[self.labels[self.described] < 0]
        if not len(labeled):
            raise DataError("No training image has both a label and a description, so no text can tell a class.")
        self._folds = np.full(len(images), -1)
        # images that share a text may be in different parts: each has a label of its own, which it does not judge
        self._folds[labeled] = folds_of(labeled, self.labels[labeled], NUM_FOLDS, seed=0)
        order = np.random.default_rng(0).permutation(labeled)
        self._fitted = np.sort(order[:MAX_FITTED])
        self._counted = np.sort(order[: max(1, MAX_LOGITS // num_classes)])
        self._seen = np.zeros((NUM_FOLDS, num_classes), bool)

    def fit(self, progress: Progress) -> list[Probe | None]:
        """Return the classifier that judges each part, None for a part without images."""
        vectors, labels = self._vectors(self._fitted), torch.from_numpy(self.labels[self._fitted]).to(self._device)
        probes: list[Probe | None] = []
        for fold in range(NUM_FOLDS):
            others = np.flatnonzero(self._folds[self._fitted] != fold)
            self._seen[fold, self.labels[self._fitted[others]]] = True
            chosen = torch.from_numpy(others).to(self._device)
            probes.append(Probe.fit(vectors[chosen], labels[chosen], self.num_classes) if len(others) else None)
            progress.advance(1)
        return probes

    def noise(self, probes: list[Probe | None], share: float | None) -> LabelNoise:
        """Return how many labels are wrong, by the images that can be judged."""
        logits, known = self.logits(probes, self._counted)
        if not known.any():
            return LabelNoise(0.0, 1.0)
        labels = torch.from_numpy(self.labels[self._counted[known]])
        # on the CPU: the likelihood is in float64, which not all devices have
        return LabelNoise.fit(logits.cpu()[torch.from_numpy(known)], labels, share)

    def logits(self, probes: list[Probe | None], places: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Return logits (P, K) of the images at P places, and which can be judged: others have their label, (P,).

        An image without a label is in no part: all classifiers judge it, and the mean of their logits counts.
        """
        vectors, folds = self._vectors(places), self._folds[places]
        logits = vectors.new_zeros(len(places), self.num_classes)
        for fold, probe in enumerate(probes):
            own = torch.from_numpy(np.flatnonzero(folds == fold)).to(self._device)
            if probe is not None and len(own):
                logits[own] = probe.logits(vectors[own])
        missing = torch.from_numpy(np.flatnonzero(folds < 0)).to(self._device)
        if len(missing):
            logits[missing] = torch.stack([one.logits(vectors[missing]) for one in probes if one is not None]).mean(0)
        return logits, self._seen[folds, self.labels[places]] | (folds < 0)

    def _vectors(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(self._set.means(self._rows.of_images(places))).to(self._device)


def _as_they_are(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return classes int32 (N, T) and shares float32 (N, T) of images whose labels count as they are."""
    classes = ((labels[:, None] + np.arange(min(MAX_CLASSES, num_classes))) % num_classes).astype(np.int32)
    shares = np.zeros(classes.shape, np.float32)
    shares[:, 0] = 1
    return classes, shares
