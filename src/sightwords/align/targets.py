"""Text targets: normalising them, and mixing them as mixup and cutmix mix the images.

Shapes, as suffixes of names: B rows of this process, D dimension of the text vectors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def normalize_targets(text_BD: Tensor) -> Tensor:
    """Rows of unit length, in float32 (float64 stays float64); a row of zeros stays zeros.

    Args:
        text_BD: (B, D) text vectors, any float type.
    """
    return F.normalize(text_BD.to(torch.promote_types(text_BD.dtype, torch.float32)), dim=1)


def mix_targets(
    text_BD: Tensor,
    weight_B: Tensor,
    partner_B: Tensor,
    share: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Targets of mixed images: image i is `share` of itself and `1 - share` of its partner, and so is its text.

    t'_i = normalise(share_i t_i + (1 - share_i) t_partner(i)), and w'_i = share_i w_i + (1 - share_i) w_partner(i). A
    side that takes part (its share is not 0) but has no description (its weight is 0) leaves the mixed image without
    one: w'_i = 0. So a share of 1 leaves the row as it is, whatever the partner has. Source: mixup, arXiv 1710.09412,
    equation 1, applied to the text; for cutmix the share is the part of the area that stays.

    Args:
        text_BD: (B, D) text vectors, of unit length if both sides are to count by their share alone. A row of weight
            0 may hold anything.
        weight_B: (B,) weights of the rows, 0 = no description.
        partner_B: (B,) integer, the row that each row is mixed with.
        share: from 0 to 1, a number for all rows or (B,) one a row.

    Returns:
        (B, D) mixed targets of unit length (zeros where the weight is 0), in float32 or float64, and (B,) their
        weights.
    """
    dtype = torch.promote_types(text_BD.dtype, torch.float32)
    weight_B = weight_B.to(dtype)
    # torch.full, not torch.tensor: the latter would copy from the host and wait
    share_B = share.to(dtype) if isinstance(share, Tensor) else torch.full_like(weight_B, share)
    text_BD = torch.where((weight_B > 0)[:, None], text_BD.to(dtype), 0.0)
    mixed_BD = share_B[:, None] * text_BD + (1 - share_B)[:, None] * text_BD[partner_B]
    partner_weight_B = weight_B[partner_B]
    lacking_B = ((share_B > 0) & (weight_B <= 0)) | ((share_B < 1) & (partner_weight_B <= 0))
    mixed_weight_B = (share_B * weight_B + (1 - share_B) * partner_weight_B).masked_fill(lacking_B, 0.0)
    return normalize_targets(mixed_BD.masked_fill(lacking_B[:, None], 0.0)), mixed_weight_B
