"""The method: losses that align image features with text vectors, projection heads and text targets.

Stands alone: needs torch and nothing else of sightwords. Most users want `AlignmentHead`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightwords.align.contrastive import clip_loss
    from sightwords.align.distributed import gather_batch, pad_batch
    from sightwords.align.head import AlignmentHead, AlignmentLoss
    from sightwords.align.pairs import Pairs, Positives, mean_loss
    from sightwords.align.projector import build_projector
    from sightwords.align.registry import OBJECTIVES, Objective
    from sightwords.align.targets import (
        TargetTransform,
        class_means,
        fit_whitening,
        mix_targets,
        mix_weights,
        normalize_targets,
    )
    from sightwords.align.weighting import combine_losses, gradient_ratio, schedule_weight

__all__ = [
    "OBJECTIVES",
    "AlignmentHead",
    "AlignmentLoss",
    "Objective",
    "Pairs",
    "Positives",
    "TargetTransform",
    "build_projector",
    "class_means",
    "clip_loss",
    "combine_losses",
    "fit_whitening",
    "gather_batch",
    "gradient_ratio",
    "mean_loss",
    "mix_targets",
    "mix_weights",
    "normalize_targets",
    "pad_batch",
    "schedule_weight",
]
_MODULES = ("registry", "contrastive", "distributed", "head", "pairs", "projector", "targets", "weighting")


def __getattr__(name: str) -> Any:
    # imported on first use, so that the command line reads the registry without torch
    if name in __all__:
        for module in _MODULES:
            found = importlib.import_module(f"{__name__}.{module}")
            if hasattr(found, name):
                return getattr(found, name)
    raise AttributeError(f"sightwords.align has no {name!r}; it has: {', '.join(__all__)}")
