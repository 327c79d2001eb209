"""The texts of a whole class as its target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sightwords.align.losses.base import (
    AlignmentLoss,
    check_label,
    check_shapes,
    check_temperature,
    full_precision,
    global_mean,
    prepare,
)
from sightwords.align.sources import Sources
from sightwords.align.targets import normalize_targets
from sightwords.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def class_mean_loss(
    image_BD: Tensor,
    class_text_KD: Tensor,
    label: Tensor,
    temperature: float | Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Each image must find the mean text of its class among those of all classes.

    With c_k the normalized mean text vector of class k: s_ik = z_i . c_k / temperature and l_i = logsumexp_k s_ik -
    sum_k y_ik s_ik. Classes without a text (a row of zeros) take no part, and an image of such a class has loss 0.
    Source: the class-mean target of LMM-Reg-CLIP, arXiv 2412.11663.

    Args:
        image_BD: (B, D) projected image features, any length.
        class_text_KD: (K, D) mean text vector of each class, any length; see `sightwords.align.class_means`.
        label: (B,) integer classes, negative = none, or (B, K) class shares.
        temperature: divides the cosines, greater than 0; a number or a scalar tensor.
        weight_B: (B,) weight of each row, 0 = takes no part; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the temperature or the shapes are not allowed.
    """
    check_temperature(temperature)
    check_label(label, len(image_BD), "class_mean_loss")
    check_shapes(image_BD, image_BD, weight_B)
    if class_text_KD.ndim != 2 or class_text_KD.shape[1] != image_BD.shape[1]:
        raise ConfigError(
            f"Class texts have shape {tuple(class_text_KD.shape)} and image features {tuple(image_BD.shape)}; they "
            "must be (classes, dimension) and (rows, dimension)."
        )
    if label.ndim == 2 and label.shape[1] != len(class_text_KD):
        raise ConfigError(f"Labels have {label.shape[1]} classes, the class texts {len(class_text_KD)}.")
    with full_precision(image_BD):
        image_BD, _, weight_B = prepare(image_BD, image_BD, weight_B)
        class_text_KD = normalize_targets(class_text_KD).to(image_BD.dtype)
        told_K = class_text_KD.square().sum(dim=1) > 0
        share_BK = _shares(label, len(class_text_KD), image_BD.dtype).masked_fill(~told_K, 0.0)
        logits_BK = (image_BD / temperature) @ class_text_KD.T
        total_B = share_BK.sum(dim=1)
        loss_B = logits_BK.masked_fill(~told_K, -math.inf).logsumexp(dim=1) * total_B - (share_BK * logits_BK).sum(
            dim=1
        )
        return global_mean(torch.where(total_B > 0, loss_B, 0.0), weight_B, group)


def _shares(label: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    if label.ndim == 2:
        return label.to(dtype)
    return (label[:, None] == torch.arange(num_classes, device=label.device)).to(dtype)


class ClassMeanLoss(AlignmentLoss):
    """Module of `class_mean_loss`; the texts of the batch are not read, only the weights of their images.

    Args:
        temperature: greater than 0.
        learn_temperature: see `AlignmentLoss`.
        class_text_KD: (K, D) mean text vector of each class; a buffer of the module.

    Raises:
        ConfigError: if there are no class texts.
    """

    function = staticmethod(class_mean_loss)
    contrastive = False
    needs_labels = True
    needs_class_text = True
    class_text: Tensor

    def __init__(
        self, temperature: float = 0.1, learn_temperature: bool = False, class_text_KD: Tensor | None = None
    ) -> None:
        super().__init__(temperature, learn_temperature)
        if class_text_KD is None:
            raise ConfigError(
                "The objective class_mean needs class_text_KD, the mean text vector of each class; "
                "sightwords.align.class_means computes it."
            )
        self.register_buffer("class_text", class_text_KD.detach().clone())

    def forward(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        weight_B: Tensor | None = None,
        group: ProcessGroup | None = None,
        *,
        label: Tensor | None = None,
        sources: Sources | None = None,
    ) -> Tensor:
        label = check_label(label, len(image_BD), "class_mean")
        return class_mean_loss(image_BD, self.class_text, label, self.temperature, weight_B, group)
