"""What is learned in a step: a module whose forward returns a dict with `loss` and the sums to be logged.

Shapes: B images of this process, K classes, F width of the pooled feature, D width of the text vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from sightwords.align import (
    OBJECTIVES,
    AlignmentHead,
    TargetTransform,
    class_means,
    combine_losses,
    fit_whitening,
    gradient_ratio,
)
from sightwords.align.distributed import world_size
from sightwords.errors import ConfigError
from sightwords.images.dataset import Split
from sightwords.models import Backbone
from sightwords.training.config import AlignConfig, ClassWeights
from sightwords.training.data import TextJoin
from sightwords.training.mixing import TrainBatch

POOLED = "pooled"
WORDS_ENCODER = "builtin:words"
EFFECTIVE_BETA = 0.999


def class_weights(how: ClassWeights, images: Split, num_classes: int) -> np.ndarray | None:
    """Return the weight of each class, float32, (K,), 1 in the mean over the training labels; None = equal.

    Args:
        how: `none`; `balanced`, 1 / n of the n images of a class; or `effective`, (1 - b) / (1 - b^n) with b = 0.999
            (class-balanced loss, arXiv 1901.05555, equation 5).
        images: the training images; one of several classes counts for each.
        num_classes: K.
    """
    if how == "none":
        return None
    counts = np.bincount(np.concatenate([images.labels(i) for i in range(len(images))]), minlength=num_classes)
    least_one = np.maximum(counts, 1)
    weights = 1 / least_one if how == "balanced" else (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA**least_one)
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), np.float32)


def classification_loss(logits_BK: Tensor, targets_BK: Tensor, smoothing: float, multi_label: bool) -> Tensor:
    """Return each image's classification loss, shape (B,).

    Args:
        logits_BK: the network's outputs.
        targets_BK: class probabilities; in multi-label data 0 or 1 for each class.
        smoothing: part of the target spread over all classes (softmax), or moved to one half (sigmoid).
        multi_label: binary cross-entropy averaged over classes, instead of softmax cross-entropy.
    """
    logits = logits_BK.float()
    if not multi_label:
        return F.cross_entropy(logits, targets_BK, reduction="none", label_smoothing=smoothing)
    targets = targets_BK * (1 - smoothing) + 0.5 * smoothing
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


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
class CachedGradients:
    """The gradients of a whole step's loss that belong to one of its micro-batches.

    Attributes:
        outputs: by each feature and by the logits, float32, each (B, F) or (B, K).
        heads: by each parameter of the heads, in their order; empty but for the last micro-batch.
    """

    outputs: Sequence[Tensor]
    heads: Sequence[Tensor] = field(default_factory=list)

    def surrogate(self, outputs: Sequence[Tensor], heads: nn.Module) -> Tensor:
        """Return a scalar with these gradients, whose backward pass DistributedDataParallel averages as any other."""
        parts = [(one.float() * gradient).sum() for one, gradient in zip(outputs, self.outputs, strict=True)]
        parts += [(one * gradient).sum() for one, gradient in zip(heads.parameters(), self.heads, strict=False)]
        return torch.stack(parts).sum()


class Alignment(nn.Module):
    """Alignment loss of a network's features with the vectors of one or several embedding sets.

    Args:
        heads: for each embedding set a mapping of what is aligned (`POOLED`, or a layer's path) to its head.
        encoder_weights: weight of each embedding set.
        layer_weight: weight of the mean over the layers, added to the pooled feature's loss.
    """

    def __init__(
        self, heads: list[dict[str, AlignmentHead]], encoder_weights: list[float], layer_weight: float
    ) -> None:
        super().__init__()
        self._heads = heads
        # registered in lists: a layer's path holds dots, which a module's name must not
        self.heads = nn.ModuleList(nn.ModuleList(of_set.values()) for of_set in heads)
        self.encoder_weights, self.layer_weight = encoder_weights, layer_weight

    def forward(self, features: Mapping[str, Tensor], batch: TrainBatch, label_BK: Tensor, pad_to: int) -> Tensor:
        """Return the alignment loss of the global batch, not yet weighted against the classification loss; scalar.

        Args:
            features: (B, F) of `POOLED` and of every layer.
            batch: its texts, and how its images are mixed.
            label_BK: class probabilities.
            pad_to: most images that a process can have.
        """
        total = features[POOLED].new_zeros((), dtype=torch.float32)
        for heads, weight, text in zip(self._heads, self.encoder_weights, batch.texts, strict=True):
            for source, head in heads.items():
                own = weight if source == POOLED else weight * self.layer_weight / (len(heads) - 1)
                loss = head(
                    features[source],
                    text.vectors,
                    text.weight,
                    label=label_BK,
                    partner_B=batch.partner,
                    lam=batch.lam,
                    pad_to=pad_to,
                )
                total = total + own * text.loss_weight * loss
        return total

    def pooled_heads(self) -> list[AlignmentHead]:
        """Return the head of the pooled feature for each embedding set."""
        return [heads[POOLED] for heads in self._heads]


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

    def forward(self, batch: TrainBatch, weighting: Weighting, cached: CachedGradients | None = None) -> dict[str, Any]:
        """Return what `loss` does; with `cached` gradients of the whole step a loss that has these, and no sums."""
        features, logits = self.features(batch.images)
        if cached is None or self.alignment is None:
            return self.loss(features, logits, batch, weighting)
        return {"loss": cached.surrogate([*features.values(), logits], self.alignment), "sums": {}}

    def loss(
        self,
        features: Mapping[str, Tensor],
        logits: Tensor,
        batch: TrainBatch,
        weighting: Weighting,
        num_micro_batches: int = 1,
    ) -> dict[str, Any]:
        """Return `loss` and, detached, `sums`, of what `features` gave for the images of some micro-batches.

        Returns:
            loss: this batch's part of classification and weighted alignment, a scalar to be minimized.
            sums: scalars by name, each the sum over this process's images; `images` is their number.
        """
        loss, losses = self.classification(logits, batch)
        means = {}
        if self.alignment is not None:
            align = self.align(features, batch, self.pad_to * num_micro_batches)
            ratio = self.ratio(loss, align, features[POOLED], weighting)
            loss = combine_losses(loss, align, weighting.weight, ratio)
            means["align_loss"] = align / batch.loss_weight
            means["align_factor"] = weighting.weight if ratio is None else weighting.weight * ratio
        # `loss` of a process is its part times the processes: its mean over all images is the whole batch's loss
        means["loss"] = loss / batch.loss_weight
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
        return losses.sum() / _global_count(losses) * world_size() * batch.loss_weight, losses

    def align(self, features: Mapping[str, Tensor], batch: TrainBatch, pad_to: int) -> Tensor:
        """Return the alignment loss of a batch of at most `pad_to` images in each process."""
        assert self.alignment is not None
        loss: Tensor = self.alignment(features, batch, class_probabilities(batch.targets), pad_to)
        return loss

    def ratio(self, classification: Tensor, align: Tensor, feature: Tensor, weighting: Weighting) -> Tensor | None:
        """Return what makes the alignment's gradient at the feature as long as the classification's, or None."""
        return gradient_ratio(classification, align, feature, weighting.grad_scale) if weighting.balanced else None


def class_probabilities(targets_BK: Tensor) -> Tensor:
    """Return targets (B, K) whose rows sum to 1; several labels count equally, a row without labels stays zero."""
    return targets_BK / targets_BK.sum(1, keepdim=True).clamp(min=1)


def correct_answers(logits: Tensor, targets: Tensor, multi_label: bool) -> Tensor:
    """Return 1 for each image whose strongest output is one of its classes (mixed: its main class), shape (B,)."""
    found = targets.gather(1, logits.argmax(1, keepdim=True))[:, 0]
    return (found > 0 if multi_label else found == targets.amax(1)).float()


def _global_count(losses: Tensor) -> Tensor:
    count = torch.full((), float(len(losses)), device=losses.device)  # nothing is copied from the host
    if world_size() > 1:
        dist.all_reduce(count)
    return count


def build_alignment(
    config: AlignConfig, backbone: Backbone, joins: list[TextJoin], images: Split, num_classes: int
) -> Alignment:
    """Return the heads that a training needs, with class means of the training images where the objective reads them.

    Raises:
        ConfigError: the objective does not fit the vectors.
    """
    norm: Literal["none", "batch"] = "none" if backbone.is_transformer else "batch"
    widths = {POOLED: backbone.num_features, **backbone.layer_widths}
    heads = []
    for join in joins:
        encoder = str(join.set.meta.get("encoder", ""))
        if config.loss == "tokens" and not encoder.startswith(WORDS_ENCODER):
            raise ConfigError(
                f"--align.loss tokens needs word counts, and {join.set.folder} holds vectors of {encoder}. "
                f"Make a set with: sightwords embed D.db --encoder {WORDS_ENCODER}"
            )
        means = _class_text(join, images, num_classes) if OBJECTIVES[config.loss].needs_class_text else None
        transform = _transform(config, join)
        heads.append(
            {
                source: AlignmentHead(
                    width,
                    join.set.dimension,
                    config.loss,
                    config.temperature,
                    config.projector,
                    norm,
                    learn_temperature=config.learn_temperature,
                    transform=deepcopy(transform),
                    class_text_KD=means,
                )
                for source, width in widths.items()
            }
        )
    return Alignment(heads, config.encoder_weights or [1.0] * len(joins), config.layer_weight)


def _transform(config: AlignConfig, join: TextJoin) -> TargetTransform | None:
    """Return what the vectors go through before anything else."""
    objective = OBJECTIVES[config.loss]
    if config.targets == "whitened":
        mean, matrix = fit_whitening(torch.from_numpy(vectors) for _, vectors in join.chunks())
        return TargetTransform(mean, matrix, normalize=objective.text_norm == 2)
    if config.targets == "centered" or objective.settings.get("center"):
        return TargetTransform(torch.from_numpy(np.array(join.set.mean)), normalize=objective.text_norm == 2)
    return None


def _class_text(join: TextJoin, images: Split, num_classes: int) -> Tensor:
    """Return the mean vector of each class's descriptions, float32, (K, D); labels of one image count equally."""
    single = torch.from_numpy(images.first_labels())

    def labels(owners: np.ndarray) -> Tensor:
        if not images.multi_label:
            return single[torch.from_numpy(owners)]
        found = torch.zeros(len(owners), num_classes)
        for row, owner in enumerate(owners.tolist()):
            found[row, images.labels(owner)] = 1
        return found / found.sum(1, keepdim=True).clamp(min=1)

    chunks = ((torch.from_numpy(vectors), labels(owners)) for owners, vectors in join.chunks())
    return class_means(chunks, num_classes)


def projector_tensors(alignment: Alignment) -> dict[str, Tensor]:
    """Return the pooled feature's projectors, with what the text vectors go through, by name."""
    tensors: dict[str, Tensor] = {}
    for number, head in enumerate(alignment.pooled_heads()):
        named = {f"projector.{name}": tensor for name, tensor in head.projector.state_dict().items()}
        named |= head.transform.state_dict() if head.transform is not None else {}
        tensors |= {f"{number}.{name}": tensor for name, tensor in named.items()}
    return tensors
