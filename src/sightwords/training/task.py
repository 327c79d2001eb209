"""What is learned in a step: a module whose forward returns a dict with `loss` and the sums to be logged.

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
from sightwords.training.mixing import TrainBatch

EFFECTIVE_BETA = 0.999


def class_weights(how: str, images: Split, class_ids: list[str]) -> np.ndarray | None:
    """Return the weight of each class, float32, (K,), 1 in the mean over the training labels; None = equal.

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


def classification_loss(logits_BK: Tensor, targets_BK: Tensor, smoothing: float, multi_label: bool) -> Tensor:
    """Return each image's classification loss, shape (B,).

    Args:
        logits_BK: the network's outputs.
        targets_BK: class probabilities; in multi-label data 0 or 1 for each class.
        smoothing: part of the target spread over all classes (softmax), or moved to one half (sigmoid).
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


@dataclass
class CachedAlignment:
    """What one micro-batch needs of the alignment of the whole step, with the gradient cache.

    Attributes:
        loss: alignment loss of the whole step, detached.
        factor: of the alignment loss in the whole loss.
        classification_factor: of the classification loss in the whole loss.
        features: gradient of the weighted alignment loss by each feature of this micro-batch, float32, (B, F).
        parameters: gradient by each parameter of the heads, in their order; empty except in the last micro-batch.
    """

    loss: Tensor
    factor: Tensor
    classification_factor: Tensor | float
    features: Mapping[str, Tensor]
    parameters: list[Tensor]

    def surrogate(self, features: Mapping[str, Tensor], heads: nn.Module | None) -> Tensor:
        """Return a scalar whose gradient is that of the alignment, by these features and the heads' parameters.

        It goes through the ordinary backward pass, so that DistributedDataParallel averages it as any other loss.
        """
        assert heads is not None
        total = sum((features[name].float() * gradient).sum() for name, gradient in self.features.items())
        assert isinstance(total, Tensor)
        if not self.parameters:
            return total
        own = zip(heads.parameters(), self.parameters, strict=True)
        return total + sum((parameter * gradient).sum() for parameter, gradient in own)


class Task(nn.Module):
    """Classification and, with heads, the alignment of the features to text.

    The loss is that of the whole global batch: each process returns its part times the number of processes, so the
    average of gradients over processes is the gradient of the whole batch, however uneven the parts are.
    `pad_to` is the most images that a process can get in a micro-batch; `class_weight_K`, float32, weights classes.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        alignment: Alignment | None = None,
        *,
        label_smoothing: float = 0.0,
        multi_label: bool = False,
        pad_to: int,
        class_weight_K: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weight", class_weight_K, persistent=False)
        self.backbone, self.alignment = backbone, alignment
        self.label_smoothing, self.multi_label, self.pad_to = label_smoothing, multi_label, pad_to

    def forward(
        self, batch: TrainBatch, weighting: Weighting, cached: CachedAlignment | None = None
    ) -> dict[str, Tensor | dict[str, Tensor]]:
        """Return `loss` (scalar, to be minimized) and, detached, `sums`.

        Args:
            batch: images and targets.
            weighting: how the alignment loss counts.
            cached: the alignment of the whole step, computed before; then this adds its gradient.

        Returns:
            loss: this micro-batch's part of classification and weighted alignment.
            sums: scalars by name, each the sum over this process's images; `images` is their number.
        """
        features, logits = self.features(batch.images)
        classification, losses = self.classification(logits, batch)
        if cached is None:
            align = self.align(features, batch, self.pad_to)
            ratio = self.ratio(classification, align, features[POOLED], weighting)
            loss = classification
            if self.alignment is not None:
                loss = combine_losses(classification, align, weighting.weight, ratio)
            factor = weighting.weight if ratio is None else weighting.weight * ratio
            whole_loss, align_loss = loss / batch.loss_weight, align / batch.loss_weight
        else:
            classification = cached.classification_factor * classification
            loss, factor = classification + cached.surrogate(features, self.alignment), cached.factor
            whole_loss, align_loss = classification / batch.loss_weight + factor * cached.loss, cached.loss
        # `loss` of a process is its part times the processes: its mean over all images is the whole batch's loss
        means = {"loss": whole_loss}
        if self.alignment is not None:
            means |= {"align_loss": align_loss, "align_factor": factor}
        sums = {name: value.detach().float() * len(losses) for name, value in means.items()}
        sums["classification_loss"] = losses.detach().sum()
        sums["accuracy"] = correct_answers(logits.detach(), batch.targets, self.multi_label).sum()
        sums["images"] = torch.full((), float(len(losses)), device=losses.device)
        return {"loss": loss, "sums": sums}

    def features(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return what is aligned, by name, each (B, F), and the logits (B, K)."""
        pooled, logits = self.backbone(images)
        return {POOLED: pooled, **self.backbone.layer_features}, logits

    def classification(self, logits: Tensor, batch: TrainBatch) -> tuple[Tensor, Tensor]:
        """Return this process's part of the classification loss, times the processes, and the losses (B,)."""
        losses = classification_loss(logits, batch.targets, self.label_smoothing, self.multi_label)
        if self.class_weight is not None:
            probabilities = class_probabilities(batch.targets)
            # an image of none of the classes shows what they do not look like, with a weight of 1
            losses = losses * (probabilities @ self.class_weight + (1 - probabilities.sum(1)))
        return losses.sum() / _global_count(losses) * _world_size() * batch.loss_weight, losses

    def align(self, features: Mapping[str, Tensor], batch: TrainBatch, pad_to: int) -> Tensor:
        """Return the alignment loss of a batch of at most `pad_to` images in each process; 0 for the baseline."""
        if self.alignment is None:
            return features[POOLED].new_zeros((), dtype=torch.float32)
        loss: Tensor = self.alignment(features, batch, class_probabilities(batch.targets), pad_to)
        return loss

    def ratio(self, classification: Tensor, align: Tensor, feature: Tensor, weighting: Weighting) -> Tensor | None:
        """Return what makes the alignment's gradient at the feature as long as the classification's, or None."""
        if self.alignment is None or not weighting.balanced:
            return None
        return gradient_ratio(classification, align, feature, weighting.grad_scale)


def class_probabilities(targets_BK: Tensor) -> Tensor:
    """Return targets (B, K) whose rows sum to 1; several labels count equally, a row without labels stays zero."""
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
