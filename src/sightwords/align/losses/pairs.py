"""Objectives that are a cross entropy over pairs: each row must find its positives among all rows of all processes.

They differ in the target distribution alone. With s_ij the logit of image i and text j, and q_ij the target of row i
(sum_j q_ij = 1, over the rows of weight > 0): l_i = logsumexp_j s_ij - sum_j q_ij s_ij.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sightwords.align.gather import gather_batch, world_rank
from sightwords.align.losses.base import (
    AlignmentLoss,
    check_label,
    check_shapes,
    check_temperature,
    full_precision,
    global_mean,
    in_chunks,
    prepare,
)
from sightwords.align.losses.target import Target, same_class, same_image, similar_text
from sightwords.align.sources import Sources

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def clip_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    temperature: float | Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
    *,
    sources: Sources | None = None,
) -> Tensor:
    """Symmetric contrastive loss: the mean of the image-to-text and the text-to-image cross entropy.

    With z and t the normalized rows, s_ij = z_i . t_j / temperature over all rows of all processes:
    l_i = (logsumexp_j s_ij + logsumexp_j s_ji) / 2 - s_ii. Source: CLIP, arXiv 2103.00020, figure 3; as alignment
    loss GPT4Image, arXiv 2306.00693.

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i.
        temperature: divides the cosines, greater than 0; a number or a scalar tensor.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.
        sources: of mixed images, or of several texts of one image; their overlap, as a distribution over the row, then
            takes the place of the pair i, i. None = every row is an image of its own.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the temperature or the shapes are not allowed.
    """
    check_temperature(temperature)
    check_shapes(image_BD, text_BD, weight_B)
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B)
        target = None if sources is None else same_image(sources, image_BD.dtype, group)
        return _symmetric(image_BD, text_BD, temperature, weight_B, group, target)


def contrastive_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    temperature: float | Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
    *,
    sources: Sources | None = None,
) -> Tensor:
    """Image-to-text half of `clip_loss`: each image must find its own text among all texts.

    l_i = logsumexp_j s_ij - s_ii with s as in `clip_loss`. Source: InfoNCE, arXiv 1807.03748, equation 4; called
    `ctr` in the code of GPT4Image.

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i.
        temperature: divides the cosines, greater than 0; a number or a scalar tensor.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.
        sources: as in `clip_loss`.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the temperature or the shapes are not allowed.
    """
    check_temperature(temperature)
    check_shapes(image_BD, text_BD, weight_B)
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B)
        target = None if sources is None else same_image(sources, image_BD.dtype, group)
        directions = [(image_BD, gather_batch(text_BD, group))]
        loss_B = _match(directions, temperature, weight_B, group, target)
        return global_mean(loss_B, weight_B, group)


def soft_clip_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    temperature: float | Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
    *,
    sources: Sources | None = None,
    target_temperature: float = 0.1,
) -> Tensor:
    """`clip_loss` whose positives are all texts, as far as they resemble the own one.

    q_ij = softmax_j (t_i . t_j / target_temperature) in both directions. Texts that say the same are no negatives.
    Source: X-CLR, arXiv 2407.18134, equations 4 and 5.

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i. No gradient goes into the targets.
        temperature: divides the cosines of image and text, greater than 0; a number or a scalar tensor.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.
        sources: of mixed images, or of several texts of one image; t_i . t_j in q is then at least the overlap of i
            and j divided by that of i with itself. None = every row is an image of its own.
        target_temperature: divides the cosines of text and text, greater than 0; small is near `clip_loss`.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if a temperature or the shapes are not allowed.
    """
    check_temperature(temperature)
    check_temperature(target_temperature)
    check_shapes(image_BD, text_BD, weight_B)
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B)
        target = similar_text(text_BD, target_temperature, sources, group)
        return _symmetric(image_BD, text_BD, temperature, weight_B, group, target)


def label_clip_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    label: Tensor,
    temperature: float | Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
    *,
    sources: Sources | None = None,
) -> Tensor:
    """`clip_loss` whose positives are all pairs of the same class.

    q_ij = o_ij / sum_j o_ij with o_ij = sum_k y_ik y_jk: 1 for images of one class, and for mixed labels the
    probability that a part of each is of the same class. What has no class is a class of its image alone: with
    r_i = 1 - sum_k y_ik, r_i r_j is added for i = j (with sources: times their overlap). Source: UniCL, arXiv
    2204.03610, equations 3 to 5.

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i.
        label: (B,) integer classes, negative = none, or (B, K) class shares.
        temperature: divides the cosines, greater than 0; a number or a scalar tensor.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.
        sources: of mixed images, or of several texts of one image; they matter for what has no class.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the temperature or the shapes are not allowed.
    """
    check_temperature(temperature)
    check_shapes(image_BD, text_BD, weight_B)
    check_label(label, len(image_BD), "label_clip_loss")
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B)
        target = same_class(label, sources, image_BD.dtype, group)
        return _symmetric(image_BD, text_BD, temperature, weight_B, group, target)


def soft_label_clip_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    label: Tensor,
    temperature: float | Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
    *,
    sources: Sources | None = None,
    target_temperature: float = 0.1,
) -> Tensor:
    """`label_clip_loss` whose positives count by how much their texts resemble each other.

    q_ij is proportional to o_ij exp(t_i . t_j / target_temperature), o as in `label_clip_loss`. Sources: UniCL, arXiv
    2204.03610, and X-CLR, arXiv 2407.18134, joined.

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i. No gradient goes into the targets.
        label: (B,) integer classes, negative = none, or (B, K) class shares.
        temperature: divides the cosines of image and text, greater than 0; a number or a scalar tensor.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.
        sources: as in `soft_clip_loss` and `label_clip_loss`.
        target_temperature: divides the cosines of text and text, greater than 0.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if a temperature or the shapes are not allowed.
    """
    check_temperature(temperature)
    check_temperature(target_temperature)
    check_shapes(image_BD, text_BD, weight_B)
    check_label(label, len(image_BD), "soft_label_clip_loss")
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B)
        alike = same_class(label, sources, image_BD.dtype, group)
        similar = similar_text(text_BD, target_temperature, sources, group)

        def target(start: int, end: int) -> Tensor:
            return alike(start, end) * similar(start, end)

        return _symmetric(image_BD, text_BD, temperature, weight_B, group, target)


def centered_clip_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    temperature: float | Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
    *,
    subtract_mean: bool = True,
    sources: Sources | None = None,
) -> Tensor:
    """`clip_loss` of rows as long as they are, with texts less their mean.

    s_ij = z_i . (t_j - m) / temperature, nothing normalized, m the weighted mean text of the global batch. A text that
    says little beyond the usual is short then, and pulls little. Source: TextTeacher, arXiv 2605.22098 (which takes the
    mean over the data set: center the texts first, and switch `subtract_mean` off).

    Args:
        image_BD: (B, D) projected image features; a linear projection is meant.
        text_BD: (B, D) text vectors; row i describes image i.
        temperature: divides the products, greater than 0; a number or a scalar tensor.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.
        subtract_mean: off where the texts are centered already.
        sources: as in `clip_loss`.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the temperature or the shapes are not allowed.
    """
    check_temperature(temperature)
    check_shapes(image_BD, text_BD, weight_B)
    with full_precision(image_BD):
        image_BD, text_BD, weight_B = prepare(image_BD, text_BD, weight_B, normalize=False)
        if subtract_mean:
            text_BD = text_BD - _mean_text(text_BD, weight_B, group)
        target = None if sources is None else same_image(sources, image_BD.dtype, group)
        return _symmetric(image_BD, text_BD, temperature, weight_B, group, target)


def _symmetric(
    image_BD: Tensor,
    text_BD: Tensor,
    temperature: float | Tensor,
    weight_B: Tensor | None,
    group: ProcessGroup | None,
    target: Target | None,
) -> Tensor:
    image_GD, text_GD = gather_batch(image_BD, group), gather_batch(text_BD, group)
    directions = [(image_BD, text_GD), (text_BD, image_GD)]
    return global_mean(_match(directions, temperature, weight_B, group, target), weight_B, group)


def _match(
    directions: list[tuple[Tensor, Tensor]],
    temperature: float | Tensor,
    weight_B: Tensor | None,
    group: ProcessGroup | None,
    target: Target | None,
) -> Tensor:
    """Cross entropy (B,) of each local anchor over all partners of weight > 0, the mean over the directions.

    Args:
        directions: (B, D) anchors and (G, D) partners; the target is the same for all.
        temperature: divides their products.
        weight_B: weights of the anchors.
        group: the processes that share the batch.
        target: which pairs are positives; None = each row with itself.
    """
    weight_G = None if weight_B is None else gather_batch(weight_B, group)
    num_rows, num_columns = len(directions[0][0]), len(directions[0][1])
    first = world_rank(group) * num_rows

    def loss_of_rows(start: int, end: int) -> Tensor:
        own_R = torch.arange(first + start, first + end, device=directions[0][0].device)
        absent_RG = None if weight_G is None else _absent(weight_G, own_R)
        target_RG = None if target is None else _distribution(target(start, end), absent_RG, own_R)
        losses = []
        for anchor_BD, partner_GD in directions:
            logits_RG = (anchor_BD[start:end] / temperature) @ partner_GD.T
            masked_RG = logits_RG if absent_RG is None else logits_RG.masked_fill(absent_RG, -math.inf)
            losses.append(masked_RG.logsumexp(1) - _expected(logits_RG, own_R, target_RG))
        return torch.stack(losses).mean(0)

    return in_chunks(loss_of_rows, num_rows, num_columns)


def _absent(weight_G: Tensor, own_R: Tensor) -> Tensor:
    """Which pairs take no part, (R, G).

    An anchor's own pair always stays: an anchor of weight 0 then has a finite loss, which its weight cancels.
    """
    other_RG = own_R[:, None] != torch.arange(len(weight_G), device=weight_G.device)
    return other_RG & (weight_G <= 0)


def _distribution(target_RG: Tensor, absent_RG: Tensor | None, own_R: Tensor) -> Tensor:
    """The target over the rows that take part, each row's sum 1; all on its own pair where it has no positive."""
    if absent_RG is not None:
        target_RG = target_RG.masked_fill(absent_RG, 0.0)
    total_R1 = target_RG.sum(1, keepdim=True)
    own_RG = own_R[:, None] == torch.arange(target_RG.shape[1], device=target_RG.device)
    return torch.where(total_R1 > 0, target_RG / torch.where(total_R1 > 0, total_R1, 1.0), own_RG.to(target_RG))


def _expected(logits_RG: Tensor, own_R: Tensor, target_RG: Tensor | None) -> Tensor:
    """Mean logit (R,) of the positives of each row."""
    if target_RG is None:
        return logits_RG.gather(1, own_R[:, None])[:, 0]
    return (target_RG * logits_RG).sum(1)


def _mean_text(text_BD: Tensor, weight_B: Tensor | None, group: ProcessGroup | None) -> Tensor:
    text_GD = gather_batch(text_BD, group)
    if weight_B is None:
        return text_GD.mean(0)
    weight_G1 = gather_batch(weight_B, group)[:, None]
    total = weight_G1.sum()
    return (weight_G1 * text_GD).sum(0) / torch.where(total > 0, total, 1.0)


class ClipLoss(AlignmentLoss):
    """Module of `clip_loss`."""

    function = staticmethod(clip_loss)
    takes_sources = True


class ContrastiveLoss(AlignmentLoss):
    """Module of `contrastive_loss`."""

    function = staticmethod(contrastive_loss)
    takes_sources = True


class SoftClipLoss(AlignmentLoss):
    """Module of `soft_clip_loss`."""

    function = staticmethod(soft_clip_loss)
    takes_sources = True


class LabelClipLoss(AlignmentLoss):
    """Module of `label_clip_loss`."""

    function = staticmethod(label_clip_loss)
    takes_sources = True
    needs_labels = True


class SoftLabelClipLoss(AlignmentLoss):
    """Module of `soft_label_clip_loss`."""

    function = staticmethod(soft_label_clip_loss)
    takes_sources = True
    needs_labels = True


class CenteredClipLoss(AlignmentLoss):
    """Module of `centered_clip_loss`.

    Attributes:
        subtract_mean: off where the texts come centered.
    """

    function = staticmethod(centered_clip_loss)
    takes_sources = True
    normalizes = False
    default_projector = "linear"
    subtract_mean = True

    def target(self, text: Tensor) -> Tensor:
        return text

    def options(self) -> dict[str, Any]:
        return {"subtract_mean": self.subtract_mean}
