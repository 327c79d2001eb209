"""The method: losses that align image features with text vectors, projection heads and text targets.

Stands alone: needs torch and nothing else of sightwords. Most users want `AlignmentHead`.
"""

from sightwords.align.gather import gather_batch, pad_batch
from sightwords.align.head import AlignmentHead
from sightwords.align.losses import (
    LOSSES,
    AlignmentLoss,
    ClipLoss,
    ContrastiveLoss,
    CosineLoss,
    build_loss,
    clip_loss,
    contrastive_loss,
    cosine_loss,
)
from sightwords.align.projector import build_projector
from sightwords.align.targets import mix_targets, normalize_targets

__all__ = [
    "LOSSES",
    "AlignmentHead",
    "AlignmentLoss",
    "ClipLoss",
    "ContrastiveLoss",
    "CosineLoss",
    "build_loss",
    "build_projector",
    "clip_loss",
    "contrastive_loss",
    "cosine_loss",
    "gather_batch",
    "mix_targets",
    "normalize_targets",
    "pad_batch",
]
