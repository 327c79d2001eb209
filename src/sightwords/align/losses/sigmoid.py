"""Every pair of image and text judged by itself: does it belong together?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightwords.align.gather import gather_batch, world_rank
from sightwords.align.losses.base import (
    AlignmentLoss,
    check_shapes,
    check_temperature,
    full_precision,
    global_mean,
    in_chunks,
    prepare,
)
from sightwords.align.losses.target import belonging
from sightwords.align.sources import Sources

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

INITIAL_BIAS = -10.0


def sigmoid_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    temperature: float | Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
    *,
    bias: float | Tensor = INITIAL_BIAS,
    sources: Sources | None = None,
) -> Tensor:
    """Binary cross entropy of every pair, without a softmax over the batch.

    With x_ij = z_i . t_j / temperature + bias: l_i = sum_j softplus(x_ij) - y_ij x_ij over the rows of weight > 0, y_ij
    = 1 for i = j, else 0. Source: SigLIP, arXiv 2303.15343, equation 1 (with temperature and bias learned, from 0.1 and
    -10).

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i.
        temperature: divides the cosines, greater than 0; a number or a scalar tensor.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.
        bias: is added to the logits; most pairs do not belong together, so it starts far below 0.
        sources: of mixed images, or of several texts of one image; then y_ij is the overlap of i and j, divided by that
            of i with itself, 1 at most.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the temperature or the shapes are not allowed.
    """
    check_temperature(temperature)
    check_shapes(image_BD, text_BD, weight_B)
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B)
        text_GD = gather_batch(text_BD, group)
        present_G = None if weight_B is None else gather_batch(weight_B, group) > 0
        known = None if sources is None else belonging(sources, image_BD.dtype, group)
        first = world_rank(group) * len(image_BD)

        def loss_of_rows(start: int, end: int) -> Tensor:
            logits_RG = (image_BD[start:end] / temperature) @ text_GD.T + bias
            if known is None:
                own_R = torch.arange(first + start, first + end, device=logits_RG.device)
                belong_RG = (own_R[:, None] == torch.arange(len(text_GD), device=logits_RG.device)).to(logits_RG)
            else:
                belong_RG = known(start, end)
            loss_RG = F.softplus(logits_RG) - belong_RG * logits_RG
            return (loss_RG if present_G is None else torch.where(present_G, loss_RG, 0.0)).sum(1)

        return global_mean(in_chunks(loss_of_rows, len(image_BD), len(text_GD)), weight_B, group)


class SigmoidLoss(AlignmentLoss):
    """Module of `sigmoid_loss`; temperature and bias are always learned, from `temperature` and -10.

    Args:
        temperature: greater than 0.
        learn_temperature: is not read.
    """

    function = staticmethod(sigmoid_loss)
    takes_sources = True

    def __init__(self, temperature: float = 0.1, learn_temperature: bool = True) -> None:
        super().__init__(temperature, learn_temperature=True)
        self.bias = nn.Parameter(torch.tensor(INITIAL_BIAS))

    def options(self) -> dict[str, Any]:
        return {"bias": self.bias}
