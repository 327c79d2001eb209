"""Accuracy on the validation images during training, over all processes."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader

from sightwords.backbones import Backbone
from sightwords.data.loader import ImageBatch
from sightwords.stages.train.batches import BatchMaker
from sightwords.stages.train.process import Processes
from sightwords.stages.train.task import classification_loss


@torch.no_grad()
def validate(
    backbone: Backbone,
    loader: DataLoader[ImageBatch],
    make_batch: BatchMaker,
    group: Processes,
    multi_label: bool,
) -> dict[str, float]:
    """Return `val_loss` and `val_top1` (and `val_top5` with more than five classes) over all validation images.

    In multi-label data an image counts as right where its strongest output is one of its classes.
    """
    backbone.eval()
    group.share_buffers(backbone)
    sums = torch.zeros(4, dtype=torch.float64)
    for batch in loader:
        _, logits = backbone(make_batch.images(batch))
        logits, targets = logits.float().cpu(), batch.targets
        ranked = targets.gather(1, logits.topk(min(5, logits.shape[1])).indices) > 0
        losses = classification_loss(logits, targets, 0.0, multi_label)
        sums += torch.stack(
            [losses.sum(), ranked[:, 0].sum(), ranked.any(1).sum(), torch.tensor(len(targets))]
        ).double()
    loss, top1, top5, count = group.sum(sums.to(group.device)).tolist()
    metrics = {"val_loss": loss / count, "val_top1": top1 / count}
    return metrics | ({"val_top5": top5 / count} if backbone.num_classes > 5 else {})
