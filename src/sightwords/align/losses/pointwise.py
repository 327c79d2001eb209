"""Objectives without negatives: each image is drawn to its own text, whatever else is in the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sightwords.align.losses.base import AlignmentLoss, check_shapes, full_precision, global_mean, prepare
from sightwords.align.targets import normalize_targets

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def cosine_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Negative cosine, l_i = 2 - 2 z_i . t_i: the squared distance of the normalized rows. No negatives.

    Source: BYOL, arXiv 2006.07733, equation 2; called `byol` in the code of GPT4Image.

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.

    Returns:
        Scalar from 0 to 4, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the shapes are not allowed.
    """
    check_shapes(image_BD, text_BD, weight_B)
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B)
        return global_mean(2 - 2 * (image_BD * text_BD).sum(dim=1), weight_B, group)


def mse_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Squared Euclidean distance of the projection, as long as it is, to the text of unit length.

    l_i = |z_i - t_i / |t_i||^2, summed over the dimensions, so that it does not depend on their number. Source: the
    feature distillation of CLIP-KD, arXiv 2307.12732.

    Args:
        image_BD: (B, D) projected image features.
        text_BD: (B, D) text vectors, any length; row i describes image i.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the shapes are not allowed.
    """
    check_shapes(image_BD, text_BD, weight_B)
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B, normalize=False)
        return global_mean((image_BD - normalize_targets(text_BD)).square().sum(dim=1), weight_B, group)


def tokens_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """The description's words as labels: cross entropy of the projection over a vocabulary of D words.

    l_i = - sum_d q_id log softmax(z_i)_d with q_id = t_id / sum_d t_id. Source: SuperClass, arXiv 2411.03313 (words
    weighted by how rare they are, one softmax over all).

    Args:
        image_BD: (B, D) a logit for each word.
        text_BD: (B, D) weight of each word in the description, 0 or more, 0 for a word that it lacks. Negative
            weights make no sense and are not looked for. A row without any word counts as one of loss 0.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the shapes are not allowed.
    """
    check_shapes(image_BD, text_BD, weight_B)
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B, normalize=False)
        return global_mean(-(_shares(text_BD) * image_BD.log_softmax(dim=1)).sum(dim=1), weight_B, group)


def _shares(text: Tensor) -> Tensor:
    total = text.sum(dim=-1, keepdim=True)
    return text / torch.where(total > 0, total, 1.0)


class CosineLoss(AlignmentLoss):
    """Module of `cosine_loss`."""

    function = staticmethod(cosine_loss)
    contrastive = False
    takes_temperature = False


class MseLoss(AlignmentLoss):
    """Module of `mse_loss`."""

    function = staticmethod(mse_loss)
    contrastive = False
    takes_temperature = False


class TokensLoss(AlignmentLoss):
    """Module of `tokens_loss`."""

    function = staticmethod(tokens_loss)
    contrastive = False
    takes_temperature = False
    normalizes = False
    shares_space = False

    def target(self, text: Tensor) -> Tensor:
        """Each word's share; zeros where there are no words."""
        return _shares(text)
