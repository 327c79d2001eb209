"""Objectives over all pairs of a batch: each row must find its positives among the rows of all processes.

Shapes, and what holds for all objectives: `sightwords.align.pairs`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from sightwords.align.pairs import Pairs, RowsToPairs, check_temperature, mean_loss
from sightwords.errors import UnknownNameError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

TargetName = Literal["own_text", "similar_texts", "same_class", "similar_in_class"]


def clip_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    temperature: float | Tensor = 0.1,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """The symmetric contrastive loss of CLIP, arXiv 2103.00020, figure 3: `cross_entropy` with its own settings.

    l_i = (logsumexp_j s_ij + logsumexp_j s_ji) / 2 - s_ii with s_ij = z_i . t_j / temperature over the normalized rows
    of all processes.

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i.
        temperature: divides the cosines, greater than 0; a number or a scalar tensor.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.

    Returns:
        Scalar, the weighted mean over the global batch (this process's part of it, times W).

    Raises:
        ConfigError: if the temperature or the shapes are not allowed.
    """
    return mean_loss(cross_entropy, Pairs(image_BD, text_BD, weight_B, group, temperature))


def cross_entropy(
    pairs: Pairs,
    target: TargetName = "own_text",
    both_sides: bool = True,
    normalize: bool = True,
    center: bool = False,
    target_temperature: float = 0.1,
) -> Tensor:
    """Cross entropy between a target distribution over the pairs and the softmax of their similarities.

    With s_ij = z_i . t_j / temperature the logit of image i and text j, and q_ij the target of row i (sum_j q_ij = 1,
    over the rows that take part): l_i = logsumexp_j s_ij - sum_j q_ij s_ij, the mean with the same for s_ji. No
    gradient goes into q_ij, which is proportional to (with o_ij the overlap of rows, `Positives`, else 1 for i = j)

    - own_text: o_ij. CLIP, arXiv 2103.00020, figure 3; one side alone is InfoNCE, arXiv 1807.03748, equation 4.
    - similar_texts: exp(c_ij / target_temperature), c_ij the cosine of texts i and j, or o_ij / o_ii where that is
      larger. X-CLR, arXiv 2407.18134, equations 4 and 5.
    - same_class: sum_k y_ik y_jk + r_i r_j o_ij with y the class probabilities and r_i = 1 - sum_k y_ik what has no
      class. UniCL, arXiv 2204.03610, equations 3 to 5.
    - similar_in_class: the product of the last two.

    Args:
        pairs: B rows; the targets of classes read `label`.
        target: which pairs are positives.
        both_sides: texts look for their image too, beside images that look for their text.
        normalize: rows get unit length first. Without it a text that says little beyond the usual is short (once
            centered) and pulls little: TextTeacher, arXiv 2605.22098.
        center: subtract the weighted mean text of the global batch.
        target_temperature: divides the cosines of texts, greater than 0; small is near own_text.

    Returns:
        (B,) losses.

    Raises:
        UnknownNameError: if there is no such target.
        ConfigError: if labels are missing, or the temperature of the target is not allowed.
    """
    check_temperature(target_temperature)
    image_BD, text_BD = pairs.unit_rows() if normalize else (pairs.image, pairs.text)
    if center:
        text_BD = text_BD - _mean_text(pairs, text_BD)
    sides = [(image_BD, text_BD), (text_BD, image_BD)] if both_sides else [(image_BD, text_BD)]
    directions = [(anchor_BD, pairs.gather(other_BD)) for anchor_BD, other_BD in sides]
    positives, has_weight_G = _positives(pairs, target, target_temperature), pairs.has_weight()

    def loss_of_rows(start: int, end: int) -> Tensor:
        # a row's own pair always stays: a row of weight 0 then has a finite loss, which its weight cancels
        absent_RG = None if has_weight_G is None else ~(pairs.is_own(start, end) | has_weight_G)
        target_RG = None if positives is None else _distribution(positives, absent_RG, pairs, start, end)
        losses = []
        for anchor_BD, other_GD in directions:
            logits_RG = (anchor_BD[start:end] / pairs.temperature) @ other_GD.T
            own_R1 = pairs.own_rows(start, end)[:, None]
            expected_R = logits_RG.gather(1, own_R1)[:, 0] if target_RG is None else (target_RG * logits_RG).sum(1)
            if absent_RG is not None:
                logits_RG = logits_RG.masked_fill(absent_RG, -math.inf)
            losses.append(logits_RG.logsumexp(1) - expected_R)
        return torch.stack(losses).mean(0)

    return pairs.in_chunks(loss_of_rows)


def sigmoid(pairs: Pairs, bias: float | Tensor = -10.0) -> Tensor:
    """Binary cross entropy of every pair, without a softmax over the batch.

    With x_ij = z_i . t_j / temperature + bias over the normalized rows: l_i = sum_j softplus(x_ij) - y_ij x_ij over the
    rows of weight > 0, y_ij = o_ij / o_ii at most 1, o the overlap (`Positives`; without any, 1 for i = j, else 0).
    Source: SigLIP, arXiv 2303.15343, equation 1 (with temperature and bias learned, from 0.1 and -10).

    Args:
        pairs: B rows.
        bias: is added to the logits; most pairs do not belong together, so it starts far below 0.

    Returns:
        (B,) losses, a sum over the batch each.
    """
    image_BD, text_BD = pairs.unit_rows()
    text_GD, has_weight_G, together = pairs.gather(text_BD), pairs.has_weight(), _together(pairs)

    def loss_of_rows(start: int, end: int) -> Tensor:
        logits_RG = (image_BD[start:end] / pairs.temperature) @ text_GD.T + bias
        loss_RG = F.softplus(logits_RG) - together(start, end) * logits_RG
        return (loss_RG if has_weight_G is None else torch.where(has_weight_G, loss_RG, 0.0)).sum(1)

    return pairs.in_chunks(loss_of_rows)


def _positives(pairs: Pairs, target: TargetName, temperature: float) -> RowsToPairs | None:
    """The target before it is divided by its sum over each row; None = each row with itself."""
    if target not in get_args(TargetName):
        raise UnknownNameError("target", target, get_args(TargetName))
    if target == "own_text":
        return None if pairs.positives is None else _overlap(pairs)
    if target == "similar_texts":
        return _similar_texts(pairs, temperature)
    same_class = _same_class(pairs)
    if target == "same_class":
        return same_class
    similar = _similar_texts(pairs, temperature)
    return lambda start, end: same_class(start, end) * similar(start, end)


def _distribution(positives: RowsToPairs, absent_RG: Tensor | None, pairs: Pairs, start: int, end: int) -> Tensor:
    """The target over the rows that take part, each row's sum 1; all on its own pair where it has no positive."""
    target_RG = positives(start, end)
    if absent_RG is not None:
        target_RG = target_RG.masked_fill(absent_RG, 0.0)
    total_R1 = target_RG.sum(1, keepdim=True)
    own_RG = pairs.is_own(start, end).to(target_RG)
    return torch.where(total_R1 > 0, target_RG / torch.where(total_R1 > 0, total_R1, 1.0), own_RG)


def _overlap(pairs: Pairs) -> RowsToPairs:
    """Probability that a part of each row is of the same image."""
    own = pairs.positives
    if own is None:
        return lambda start, end: pairs.is_own(start, end).to(pairs.image.dtype)
    everyone = own.map(pairs.gather)
    return lambda start, end: own.map(lambda x: x[start:end]).overlap(everyone)


def _together(pairs: Pairs) -> RowsToPairs:
    """How far pairs belong together, from 0 to 1: their overlap, divided by that of the row with itself."""
    overlap = _overlap(pairs)
    if pairs.positives is None:
        return overlap
    own_B = pairs.positives.own_overlap()
    own_B = torch.where(own_B > 0, own_B, 1.0)  # padding does not even overlap with itself
    return lambda start, end: (overlap(start, end) / own_B[start:end, None]).clamp(max=1.0)


def _same_class(pairs: Pairs) -> RowsToPairs:
    """Probability that a part of each row is of the same class; what has no class belongs to its own image alone."""
    label, dtype, overlap = pairs.known_label(), pairs.image.dtype, _overlap(pairs)
    rest_B = (label < 0).to(dtype) if label.ndim == 1 else (1 - label.sum(dim=1)).clamp(min=0)
    everyone, rest_G = pairs.gather(label), pairs.gather(rest_B)

    def target(start: int, end: int) -> Tensor:
        own = label[start:end]
        known_RG = (own[:, None] == everyone) & (everyone >= 0) if label.ndim == 1 else own @ everyone.T
        return known_RG + rest_B[start:end, None] * rest_G * overlap(start, end)

    return target


def _similar_texts(pairs: Pairs, temperature: float) -> RowsToPairs:
    """exp((c_ij - 1) / temperature), which is proportional to exp(c_ij / temperature) and never overflows."""
    text_BD = pairs.unit_rows()[1].detach()
    text_GD = pairs.gather(text_BD)
    together = None if pairs.positives is None else _together(pairs)

    def target(start: int, end: int) -> Tensor:
        cosine_RG = text_BD[start:end] @ text_GD.T
        if together is not None:
            known_RG = together(start, end)
            # pairs of which nothing is known keep their cosine, below 0 too
            cosine_RG = torch.where(known_RG > 0, torch.maximum(cosine_RG, known_RG), cosine_RG)
        return ((cosine_RG - 1) / temperature).exp()

    return target


def _mean_text(pairs: Pairs, text_BD: Tensor) -> Tensor:
    text_GD = pairs.gather(text_BD)
    if pairs.weight is None:
        return text_GD.mean(0)
    weight_G1 = pairs.gather(pairs.weight)[:, None]
    total = weight_G1.sum()
    return (weight_G1 * text_GD).sum(0) / torch.where(total > 0, total, 1.0)
