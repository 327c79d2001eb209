"""Objectives that align image features with text vectors: pure functions, and a thin module for each.

Shapes, as suffixes of names:
    B  rows (images, or texts of images) of this process
    G  rows of all processes together, G = W * B for W processes; G = B for one
    R  rows of a chunk
    D  dimension of the text vectors
    K  classes

What all objectives have in common:

- Everything is computed in float32 or, if an input is float64, in float64, whatever autocast says. Where "any length"
  is said of an argument, its rows are normalized to unit length inside.
- `weight_B` (0 or more, one number a row; None means 1 for all) says how much an image counts. The loss is the
  weighted mean over all rows of all processes, sum_i w_i l_i / sum_i w_i. A row of weight 0 (an image without a
  description, a row of padding) takes no part, neither as anchor nor as negative, and may hold anything, NaN too. If
  all weights are 0, the loss is 0 and so is its gradient.
- Where torch.distributed is initialized, the loss is that of the global batch. A process returns W times its share,
  W * sum_local(w_i l_i) / sum_global(w_i). The mean over the processes is the loss of the whole batch, and averaging
  the gradients over the processes, as DistributedDataParallel does, gives the gradient of that loss, exactly. Local
  batches must have one size (`sightwords.align.pad_batch`), and either all processes give weights or none does.
- `sources` (see `sightwords.align.Sources`) tells which pairs are known to belong together: a mixed image and its
  partner, several texts of one image. Either all processes give them or none does.
- Nothing here waits for the accelerator (no value is read back to Python).
- Where a batch is large, the pairs of rows are computed in parts, and again in the backward pass: no process ever holds
  a whole B x G matrix.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sightwords.align.losses.base import AlignmentLoss
from sightwords.align.losses.class_mean import ClassMeanLoss, class_mean_loss
from sightwords.align.losses.pairs import (
    CenteredClipLoss,
    ClipLoss,
    ContrastiveLoss,
    LabelClipLoss,
    SoftClipLoss,
    SoftLabelClipLoss,
    centered_clip_loss,
    clip_loss,
    contrastive_loss,
    label_clip_loss,
    soft_clip_loss,
    soft_label_clip_loss,
)
from sightwords.align.losses.pointwise import (
    CosineLoss,
    MseLoss,
    TokensLoss,
    cosine_loss,
    mse_loss,
    tokens_loss,
)
from sightwords.align.losses.relational import RelationalLoss, relational_loss
from sightwords.align.losses.sigmoid import SigmoidLoss, sigmoid_loss
from sightwords.errors import UnknownNameError

__all__ = [
    "LOSSES",
    "AlignmentLoss",
    "CenteredClipLoss",
    "ClassMeanLoss",
    "ClipLoss",
    "ContrastiveLoss",
    "CosineLoss",
    "LabelClipLoss",
    "MseLoss",
    "RelationalLoss",
    "SigmoidLoss",
    "SoftClipLoss",
    "SoftLabelClipLoss",
    "TokensLoss",
    "build_loss",
    "centered_clip_loss",
    "class_mean_loss",
    "clip_loss",
    "contrastive_loss",
    "cosine_loss",
    "label_clip_loss",
    "mse_loss",
    "relational_loss",
    "sigmoid_loss",
    "soft_clip_loss",
    "soft_label_clip_loss",
    "tokens_loss",
]

LOSSES: dict[str, type[AlignmentLoss]] = {
    "clip": ClipLoss,
    "contrastive": ContrastiveLoss,
    "cosine": CosineLoss,
    "mse": MseLoss,
    "sigmoid": SigmoidLoss,
    "soft_clip": SoftClipLoss,
    "label_clip": LabelClipLoss,
    "soft_label_clip": SoftLabelClipLoss,
    "centered_clip": CenteredClipLoss,
    "relational": RelationalLoss,
    "tokens": TokensLoss,
    "class_mean": ClassMeanLoss,
}
"""Name -> module, as `--align.loss` knows them."""


def build_loss(
    name: str,
    temperature: float = 0.1,
    *,
    learn_temperature: bool = False,
    class_text_KD: Tensor | None = None,
) -> AlignmentLoss:
    """The module of an objective.

    Args:
        name: one of `LOSSES`.
        temperature: greater than 0; objectives without one do not read it.
        learn_temperature: whether it is learned; `sigmoid` always learns it.
        class_text_KD: (K, D) mean text vector of each class, for `class_mean` alone.

    Raises:
        UnknownNameError: if there is no such objective.
        ConfigError: if the temperature is not allowed, there is none to learn, or class texts are missing.
    """
    if name not in LOSSES:
        raise UnknownNameError("alignment loss", name, LOSSES)
    options: dict[str, Any] = {"class_text_KD": class_text_KD} if LOSSES[name].needs_class_text else {}
    return LOSSES[name](temperature, learn_temperature, **options)
