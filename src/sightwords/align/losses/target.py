"""Which pairs of rows are positives, and how much: all that distinguishes the objectives over pairs.

A target is a function (start, end) -> a_ij >= 0, (R, G), of the local rows start:end and the rows of all processes; the
objective divides it by its sum over the rows that take part. No gradient goes into it. It is symmetric up to that
division, so it serves images that look for their text and texts that look for their image.

Shapes: as in `sightwords.align.losses`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sightwords.align.gather import gather_batch, world_rank
from sightwords.align.sources import Sources

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Target = Callable[[int, int], Tensor]


def same_image(sources: Sources, dtype: torch.dtype, group: ProcessGroup | None) -> Target:
    """Probability that a part of each row comes from the same image."""
    everyone = sources.gather(group)
    return lambda start, end: sources.rows(start, end).overlap(everyone, dtype)


def belonging(sources: Sources, dtype: torch.dtype, group: ProcessGroup | None) -> Target:
    """How far pairs belong together, from 0 to 1: their overlap, divided by that of the row with itself."""
    overlap, itself_B = same_image(sources, dtype, group), sources.itself(dtype)
    itself_B = torch.where(itself_B > 0, itself_B, 1.0)  # padding does not even overlap with itself
    return lambda start, end: (overlap(start, end) / itself_B[start:end, None]).clamp(max=1.0)


def same_class(label: Tensor, sources: Sources | None, dtype: torch.dtype, group: ProcessGroup | None) -> Target:
    """Probability that a part of each row is of the same class.

    What has no class (a negative number, or the share that is missing from 1) belongs to its own image alone.
    """
    if label.ndim == 1:
        class_BK, rest_B = label, (label < 0).to(dtype)
    else:
        class_BK = label.to(dtype)
        rest_B = (1 - class_BK.sum(dim=1)).clamp(min=0)
    class_GK, rest_G = gather_batch(class_BK, group), gather_batch(rest_B, group)
    unknown = _own_row(len(label), dtype, label, group) if sources is None else same_image(sources, dtype, group)

    def target(start: int, end: int) -> Tensor:
        if label.ndim == 1:
            known_RG = ((class_BK[start:end, None] == class_GK) & (class_GK >= 0)).to(dtype)
        else:
            known_RG = class_BK[start:end] @ class_GK.T
        return known_RG + rest_B[start:end, None] * rest_G * unknown(start, end)

    return target


def similar_text(text_BD: Tensor, temperature: float, sources: Sources | None, group: ProcessGroup | None) -> Target:
    """exp((c_ij - 1) / temperature) with c_ij the cosine of the texts, at least how far the rows belong together.

    It is proportional to exp(c_ij / temperature), and never overflows.
    """
    text_BD = text_BD.detach()
    text_GD = gather_batch(text_BD, group)
    known = None if sources is None else belonging(sources, text_BD.dtype, group)

    def target(start: int, end: int) -> Tensor:
        cosine_RG = text_BD[start:end] @ text_GD.T
        if known is not None:
            known_RG = known(start, end)
            # pairs of which nothing is known keep their cosine, below 0 too
            cosine_RG = torch.where(known_RG > 0, torch.maximum(cosine_RG, known_RG), cosine_RG)
        return ((cosine_RG - 1) / temperature).exp()

    return target


def _own_row(num_rows: int, dtype: torch.dtype, like: Tensor, group: ProcessGroup | None) -> Target:
    first = world_rank(group) * num_rows
    own_B = torch.arange(first, first + num_rows, device=like.device)
    own_G = gather_batch(own_B, group)
    return lambda start, end: (own_B[start:end, None] == own_G).to(dtype)
