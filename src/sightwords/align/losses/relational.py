"""The structure of similarities: images should resemble each other as their texts do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sightwords.align.gather import gather_batch, world_rank
from sightwords.align.losses.base import AlignmentLoss, check_shapes, full_precision, global_mean, in_chunks, prepare

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def relational_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Squared difference of the image-image and the text-text cosines.

    l_i = mean over j != i of (z_i . z_j - t_i . t_j)^2, over the rows of weight > 0. Sources: relational knowledge
    distillation, arXiv 1904.05068; VL2Lite, CVPR 2025.

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.

    Returns:
        Scalar from 0 to 4, the weighted mean over the global batch (this process's share of it, times W); 0 for a
        single row.

    Raises:
        ConfigError: if the shapes are not allowed.
    """
    check_shapes(image_BD, text_BD, weight_B)
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B)
        image_GD, text_GD = gather_batch(image_BD, group), gather_batch(text_BD, group)
        weight_G = image_GD.new_ones(len(image_GD)) if weight_B is None else gather_batch(weight_B, group)
        present_G = weight_G > 0
        num_others = (present_G.sum() - 1).clamp(min=1)
        first = world_rank(group) * len(image_BD)

        def loss_of_rows(start: int, end: int) -> Tensor:
            own_R = torch.arange(first + start, first + end, device=image_BD.device)
            other_RG = own_R[:, None] != torch.arange(len(image_GD), device=image_BD.device)
            difference_RG = image_BD[start:end] @ image_GD.T - text_BD[start:end] @ text_GD.T
            return torch.where(other_RG & present_G, difference_RG.square(), 0.0).sum(1) / num_others

        return global_mean(in_chunks(loss_of_rows, len(image_BD), len(image_GD)), weight_B, group)


class RelationalLoss(AlignmentLoss):
    """Module of `relational_loss`."""

    function = staticmethod(relational_loss)
    takes_temperature = False
    shares_space = False
