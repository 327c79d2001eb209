"""What is learned in a step: a module whose forward returns a dict that holds `loss`; the loop knows only that.

Shapes: B images of this process, K classes, F width of the pooled feature, D width of the text vectors.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from sightwords.align import combine_losses, gradient_ratio
from sightwords.errors import ConfigError
from sightwords.images.dataset import Split
from sightwords.models import Backbone
from sightwords.training.alignment import POOLED, Alignment
from sightwords.training.batches import TrainBatch
from sightwords.training.grad_cache import CachedAlignment

EFFECTIVE_BETA = 0.999


def class_weights(how: str, images: Split, class_ids: list[str]) -> np.ndarray | None:
    """Return the weight of each class, float32, (K,), 1 in the mean over the training labels; None = all alike.

    Args:
        how: `none`; `balanced`, 1 / n of the n images of a class; `effective`, (1 - b) / (1 - b^n) with b = 0.999
            (class-balanced loss, arXiv 1901.05555, equation 5); or a CSV file `id,weight`.
        images: the training images.
        class_ids: ids of the classes, in the order of the outputs.

    Raises:
        ConfigError: the file cannot be read or does not fit the classes.
    """
    if how == "none":
        return None
    counts = _class_counts(images, len(class_ids))
    if how == "balanced":
        weights = 1 / np.maximum(counts, 1)
    elif how == "effective":
        weights = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA ** np.maximum(counts, 1))
    else:
        weights = _read(Path(how), class_ids)
    mean = float((weights * counts).sum() / counts.sum())
    return np.asarray(weights / mean, np.float32)


def _class_counts(images: Split, num_classes: int) -> np.ndarray:
    """Return the number of images of each class, float64, (K,); an image of several classes counts for each."""
    counts = np.zeros(num_classes)
    for index in range(len(images)):
        counts[images.labels(index)] += 1
    return counts


def _read(path: Path, class_ids: list[str]) -> np.ndarray:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        found = {row[0]: float(row[1]) for row in rows if row and row[0] != "id"}
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError(
            f"--class-weights {path}: {error}. Give none, balanced, effective, or a CSV file with lines `id,weight`."
        ) from None
    missing = [class_id for class_id in class_ids if class_id not in found]
    if missing or any(not weight >= 0 for weight in found.values()):
        what = f"has no weight for {', '.join(missing[:5])}" if missing else "has negative weights"
        raise ConfigError(f"--class-weights {path} {what}. Give each class a weight of 0 or more.")
    weights = np.array([found[class_id] for class_id in class_ids])
    if not weights.any():
        raise ConfigError(f"--class-weights {path} gives every class a weight of 0.")
    return weights


NUM_SUMS = 6


def classification_loss(logits_BK: Tensor, targets_BK: Tensor, smoothing: float, multi_label: bool) -> Tensor:
    """Return each image's classification loss, shape (B,).

    Args:
        logits_BK: the network's outputs.
        targets_BK: shares of the classes; in multi-label data 0 or 1 for each class.
        smoothing: share spread over all classes (softmax), or towards one half (sigmoid).
        multi_label: binary cross-entropy averaged over classes, instead of softmax cross-entropy.
    """
    logits = logits_BK.float()
    if multi_label:
        targets = targets_BK * (1 - smoothing) + 0.5 * smoothing
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)
    targets = targets_BK * (1 - smoothing) + smoothing / targets_BK.shape[1]
    return -(targets * F.log_softmax(logits, 1)).sum(1)


@dataclass
class Weighting:
    """How the alignment loss counts in a step.

    Attributes:
        weight: lambda of this step, a scalar on the device.
        balanced: whether both gradients are made equally long at the pooled feature first.
        grad_scale: the gradient scaler's factor, a scalar on the device.
    """

    weight: Tensor
    balanced: bool
    grad_scale: Tensor


class Task(nn.Module):
    """Classification, and beside it the alignment of the features to text where heads are given.

    The loss is that of the whole global batch: each process returns its share times the number of processes, so that
    the average of gradients over processes is the gradient of the whole batch, however uneven the shares are.

    Args:
        backbone: the network being trained.
        alignment: the heads, or None for the baseline.
        label_smoothing: see `classification_loss`.
        multi_label: see `classification_loss`.
        capacity: largest number of images that a process can get in a micro-batch.
        class_weight_K: weight of each class in the classification loss, float32; None = all alike.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        alignment: Alignment | None,
        label_smoothing: float,
        multi_label: bool,
        capacity: int,
        class_weight_K: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weight", class_weight_K, persistent=False)
        self.backbone, self.alignment = backbone, alignment
        self.label_smoothing, self.multi_label, self.capacity = label_smoothing, multi_label, capacity

    def forward(
        self, batch: TrainBatch, weighting: Weighting, cached: CachedAlignment | None = None
    ) -> dict[str, Tensor]:
        """Return `loss` (scalar, to be minimized) and, detached, what is to be shown.

        Args:
            batch: images and targets.
            weighting: how the alignment loss counts.
            cached: the alignment of the whole step, computed before; then this adds its gradient.

        Returns:
            loss: this micro-batch's part of classification and weighted alignment.
            sums: float32, shape (`NUM_SUMS`,): sums over this process's images of classification loss and of right
                answers; whole loss, alignment loss and the latter's factor, each times this process's images; and
                the number of images.
        """
        features, logits = self.features(batch.images)
        classification, losses = self.classification(logits, batch)
        if cached is None:
            align = self.align(features, batch, self.capacity)
            ratio = self.ratio(classification, align, features[POOLED], weighting)
            loss = classification
            if self.alignment is not None:
                loss = combine_losses(classification, align, weighting.weight, ratio)
            factor = weighting.weight if ratio is None else weighting.weight * ratio
            shown = torch.stack([loss, align]) / batch.portion
        else:
            classification = cached.classification_factor * classification
            loss, factor = classification + cached.surrogate(features, self.alignment), cached.factor
            shown = torch.stack([classification / batch.portion + factor * cached.loss, cached.loss])
        return {"loss": loss, "sums": self._sums(losses, logits, batch, shown, factor)}

    def _sums(self, losses: Tensor, logits: Tensor, batch: TrainBatch, shown: Tensor, factor: Tensor) -> Tensor:
        correct = correct_answers(logits.detach(), batch.targets, self.multi_label)
        count = torch.full((1,), float(len(losses)), device=losses.device)
        own = torch.stack([losses.detach().sum(), correct.sum()])
        whole = torch.cat([shown, factor.reshape(1)]).detach().float()
        return torch.cat([own, whole * count, count])

    def features(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return what is aligned, by name, each (B, F), and the logits (B, K)."""
        pooled, logits = self.backbone(images)
        return {POOLED: pooled, **self.backbone.layer_features}, logits

    def classification(self, logits: Tensor, batch: TrainBatch) -> tuple[Tensor, Tensor]:
        """Return this process's share of the classification loss, times the processes, and the losses (B,)."""
        losses = classification_loss(logits, batch.targets, self.label_smoothing, self.multi_label)
        if self.class_weight is not None:
            shares = class_shares(batch.targets)
            # an image of none of the classes says what they do not look like, with a weight of 1
            losses = losses * (shares @ self.class_weight + (1 - shares.sum(1)))
        return losses.sum() / _global_count(losses) * _world_size() * batch.portion, losses

    def align(self, features: Mapping[str, Tensor], batch: TrainBatch, capacity: int) -> Tensor:
        """Return the alignment loss of a batch of at most `capacity` images in each process; 0 for the baseline."""
        if self.alignment is None:
            return features[POOLED].new_zeros((), dtype=torch.float32)
        loss: Tensor = self.alignment(
            features, batch.texts, class_shares(batch.targets), batch.partner, batch.share, capacity
        )
        return loss

    def ratio(self, classification: Tensor, align: Tensor, feature: Tensor, weighting: Weighting) -> Tensor | None:
        """Return what makes the alignment's gradient at the feature as long as the classification's, or None."""
        if self.alignment is None or not weighting.balanced:
            return None
        return gradient_ratio(classification, align, feature, weighting.grad_scale)


def class_shares(targets_BK: Tensor) -> Tensor:
    """Return targets whose rows sum to 1; several labels share alike, a row without labels stays zero."""
    return targets_BK / targets_BK.sum(1, keepdim=True).clamp(min=1)


def correct_answers(logits: Tensor, targets: Tensor, multi_label: bool) -> Tensor:
    """Return 1 for each image whose strongest output is one of its classes (mixed: its main class), shape (B,)."""
    best = logits.argmax(1, keepdim=True)
    if multi_label:
        return (targets.gather(1, best)[:, 0] > 0).float()
    return (targets.argmax(1, keepdim=True) == best)[:, 0].float()


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _global_count(losses: Tensor) -> Tensor:
    count = torch.full((), float(len(losses)), device=losses.device)  # nothing is copied from the host
    if _world_size() > 1:
        dist.all_reduce(count)
    return count
