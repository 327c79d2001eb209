"""Which images the rows of a batch are made of, and so which pairs of image and text are known to belong together.

Shapes, as suffixes of names: B rows of this process, G rows of all processes, R rows of a chunk, M sources of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sightwords.align.gather import gather_batch, pad_batch, world_rank

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class Sources:
    """Each row as a mixture of images.

    An image by itself is one source with a share of 1. After mixup or cutmix a row holds two images. Several texts of
    one image are several rows with the same source. `overlap` of two rows is the probability that a part drawn from
    each, by its shares, comes from the same image; contrastive objectives take it as their target. So a mixed image of
    share s has its own text as a positive with s^2 + (1 - s)^2 and its partner's with 2 s (1 - s), and no negative
    that it knows to be wrong.

    Attributes:
        ids: int64, (B, M), an image's number, unique over all processes.
        shares: (B, M), rows sum to 1.
    """

    ids: Tensor
    shares: Tensor

    def gather(self, group: ProcessGroup | None = None) -> Sources:
        """Sources of all processes' rows, (G, M), in the order of the ranks."""
        return Sources(gather_batch(self.ids, group), gather_batch(self.shares, group))

    def rows(self, start: int, end: int) -> Sources:
        """Sources of some rows."""
        return Sources(self.ids[start:end], self.shares[start:end])

    def repeat(self, num_texts: int) -> Sources:
        """Sources of rows of which each stands `num_texts` times, one after another."""
        return Sources(*(x.repeat_interleave(num_texts, 0) for x in (self.ids, self.shares)))

    def pad(self, capacity: int) -> Sources:
        """Sources of padded rows; padding has shares of 0, so it overlaps with nothing."""
        return Sources(pad_batch(self.ids, capacity), pad_batch(self.shares, capacity))

    def overlap(self, others: Sources, dtype: torch.dtype) -> Tensor:
        """Probability (R, G) that a part of a row here and a part of a row of `others` come from the same image."""
        total = torch.zeros(len(self.ids), len(others.ids), dtype=dtype, device=self.ids.device)
        for own_ids, own_shares in self.columns(dtype):
            for other_ids, other_shares in others.columns(dtype):
                total += torch.where(own_ids[:, None] == other_ids, own_shares[:, None] * other_shares, 0.0)
        return total

    def itself(self, dtype: torch.dtype) -> Tensor:
        """Overlap (B,) of each row with itself."""
        total = torch.zeros(len(self.ids), dtype=dtype, device=self.ids.device)
        for ids, shares in self.columns(dtype):
            for other_ids, other_shares in self.columns(dtype):
                total += torch.where(ids == other_ids, shares * other_shares, 0.0)
        return total

    def columns(self, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        """The m-th source of every row and its share, for each m."""
        return list(zip(self.ids.unbind(1), self.shares.to(dtype).unbind(1), strict=True))


def batch_sources(
    like_B: Tensor,
    capacity: int,
    partner_B: Tensor | None = None,
    share: float | Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Sources:
    """Sources of a batch as it comes from mixup or cutmix.

    Args:
        like_B: (B,), tells the number of rows, the type of the shares and the device.
        capacity: largest number of rows that a process has, the same in all.
        partner_B: (B,) integer, the row that each row is mixed with; None = nothing is mixed.
        share: what each row keeps of itself, a number or (B,).
        group: the processes that share the batch.
    """
    own_B = world_rank(group) * capacity + torch.arange(len(like_B), device=like_B.device)
    if partner_B is None or share is None:
        return Sources(own_B[:, None], torch.ones_like(like_B)[:, None])
    share_B = share.to(like_B.dtype) if isinstance(share, Tensor) else torch.full_like(like_B, share)
    return Sources(torch.stack([own_B, own_B[partner_B]], 1), torch.stack([share_B, 1 - share_B], 1))
