from __future__ import annotations

import sightwords.align as align

PUBLIC = {
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
}


def test_public_names_are_these_and_exist():
    assert set(align.__all__) == PUBLIC
    assert all(hasattr(align, name) for name in PUBLIC)
    assert list(align.LOSSES) == ["clip", "contrastive", "cosine"]


def test_every_public_thing_is_documented():
    undocumented = [name for name in PUBLIC - {"LOSSES"} if not getattr(align, name).__doc__]
    assert undocumented == []
