from __future__ import annotations

from typing import get_args

from sightwords import align
from sightwords.stages.train.config import LossName

PUBLIC = {
    "LOSSES",
    "AlignmentHead",
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
    "Sources",
    "TargetTransform",
    "TokensLoss",
    "batch_sources",
    "build_loss",
    "build_projector",
    "centered_clip_loss",
    "class_mean_loss",
    "class_means",
    "clip_loss",
    "combine_losses",
    "contrastive_loss",
    "cosine_loss",
    "fit_whitening",
    "gather_batch",
    "gradient_ratio",
    "label_clip_loss",
    "mix_targets",
    "mix_weights",
    "mse_loss",
    "normalize_targets",
    "pad_batch",
    "relational_loss",
    "schedule_weight",
    "sigmoid_loss",
    "soft_clip_loss",
    "soft_label_clip_loss",
    "tokens_loss",
}


def test_public_names_are_these_and_exist():
    assert set(align.__all__) == PUBLIC
    assert all(hasattr(align, name) for name in PUBLIC)
    objectives = (
        "clip contrastive cosine mse sigmoid soft_clip label_clip soft_label_clip centered_clip relational tokens"
    )
    assert list(align.LOSSES) == [*objectives.split(), "class_mean"]
    assert list(align.LOSSES) == list(get_args(LossName))  # what --align.loss takes


def test_every_public_thing_is_documented():
    undocumented = [name for name in PUBLIC - {"LOSSES"} if not getattr(align, name).__doc__]
    assert undocumented == []
