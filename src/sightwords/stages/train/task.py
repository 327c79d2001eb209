"""What is learnt in a step: a module whose forward returns a dict that holds `loss`; the loop knows only that.

Shapes: B images of this process, K classes, F width of the pooled feature, D width of the text vectors.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from sightwords.align import AlignmentHead
from sightwords.backbones import Backbone
from sightwords.stages.train.batches import TrainBatch


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


class Task(nn.Module):
    """Classification, and beside it the alignment of the pooled features to text where a head is given.

    The loss is that of the whole global batch: each process returns its share times the number of processes, so that
    the average of gradients over processes is the gradient of the whole batch, however uneven the shares are.

    Args:
        backbone: the network being trained.
        head: alignment head, or None for the baseline.
        align_weight: factor of the alignment loss.
        label_smoothing: see `classification_loss`.
        multi_label: see `classification_loss`.
        capacity: largest number of images that a process can get in a micro-batch.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: AlignmentHead | None,
        align_weight: float,
        label_smoothing: float,
        multi_label: bool,
        capacity: int,
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.align_weight, self.label_smoothing = align_weight, label_smoothing
        self.multi_label, self.capacity = multi_label, capacity

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return `loss` (scalar, to be minimised) and, detached, what is to be shown.

        Returns:
            loss: classification + weight x alignment.
            sums: float32, shape (4,): sums over this process's images of classification loss and of right answers,
                the alignment loss times this process's images, and the number of images.
        """
        features, logits = self.backbone(batch.images)
        losses = classification_loss(logits, batch.targets, self.label_smoothing, self.multi_label)
        classification = losses.sum() / _global_count(losses) * _world_size()
        align = self._align(features, batch)
        loss = classification + self.align_weight * align if self.head is not None else classification
        correct = _correct(logits.detach(), batch.targets, self.multi_label).sum()
        count = torch.tensor(float(len(losses)), device=losses.device)
        sums = torch.stack([losses.detach().sum(), correct, align.detach().float() * count, count])
        return {"loss": loss, "sums": sums}

    def _align(self, features: Tensor, batch: TrainBatch) -> Tensor:
        if self.head is None or batch.text is None or batch.text_weight is None:
            return features.new_zeros(())
        loss: Tensor = self.head(features, batch.text, batch.text_weight, capacity=self.capacity)
        return loss


def _correct(logits: Tensor, targets: Tensor, multi_label: bool) -> Tensor:
    """Return 1 for each image whose strongest output is one of its classes (mixed: its main class), shape (B,)."""
    best = logits.argmax(1, keepdim=True)
    if multi_label:
        return (targets.gather(1, best)[:, 0] > 0).float()
    return (targets.argmax(1, keepdim=True) == best)[:, 0].float()


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _global_count(losses: Tensor) -> Tensor:
    count = torch.tensor(float(len(losses)), device=losses.device)
    if _world_size() > 1:
        dist.all_reduce(count)
    return count
