"""Objectives that draw a row to its own text, to the text of its class, or to the structure of the texts.

Shapes, and what holds for all objectives: `sightwords.align.pairs`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sightwords.align.pairs import Pairs
from sightwords.errors import ConfigError


def cosine(pairs: Pairs) -> Tensor:
    """Negative cosine, l_i = 2 - 2 z_i . t_i: the squared distance of the normalized rows, from 0 to 4; (B,).

    Source: BYOL, arXiv 2006.07733, equation 2; called `byol` in the code of GPT4Image.
    """
    image_BD, text_BD = pairs.unit_rows()
    return 2 - 2 * (image_BD * text_BD).sum(dim=1)


def mse(pairs: Pairs) -> Tensor:
    """Squared distance of the projection, as long as it is, to the text of unit length; (B,).

    l_i = |z_i - t_i / |t_i||^2, summed over the dimensions, so that it does not depend on their number. Source: the
    feature distillation of CLIP-KD, arXiv 2307.12732.
    """
    return (pairs.image - pairs.unit_rows()[1]).square().sum(dim=1)


def tokens(pairs: Pairs) -> Tensor:
    """The description's words as labels: cross entropy of the projection over a vocabulary of D words; (B,).

    l_i = - sum_d q_id log softmax(z_i)_d with q_id = t_id / sum_d t_id; t_id is the weight of word d in the
    description, 0 or more, and a row without words has loss 0. Source: SuperClass, arXiv 2411.03313 (words weighted by
    how rare they are, one softmax over all).
    """
    return -(F.normalize(pairs.text, p=1, dim=1) * pairs.image.log_softmax(dim=1)).sum(dim=1)


def class_mean(pairs: Pairs) -> Tensor:
    """Each image must find the mean text of its class among those of all classes; (B,).

    With c_k the normalized mean text of class k: s_ik = z_i . c_k / temperature and l_i = logsumexp_k s_ik -
    sum_k y_ik s_ik. Classes without a text take no part, and an image of such a class has loss 0. The texts of the
    batch are not read, only their weights. Source: LMM-Reg-CLIP, arXiv 2412.11663.

    Raises:
        ConfigError: if labels or class texts are missing or do not fit.
    """
    image_BD, label, class_text_KD = pairs.unit_rows()[0], pairs.known_label(), pairs.class_text
    if class_text_KD is None or class_text_KD.ndim != 2 or class_text_KD.shape[1] != image_BD.shape[1]:
        shape = None if class_text_KD is None else tuple(class_text_KD.shape)
        raise ConfigError(f"Class texts have shape {shape}; it must be (classes, {image_BD.shape[1]}).")
    if label.ndim == 2 and label.shape[1] != len(class_text_KD):
        raise ConfigError(f"Labels have {label.shape[1]} classes, the class texts {len(class_text_KD)}.")
    has_text_K = class_text_KD.square().sum(dim=1) > 0
    logits_BK = (image_BD / pairs.temperature) @ F.normalize(class_text_KD, dim=1).T
    if label.ndim == 1:
        label = (label[:, None] == torch.arange(len(class_text_KD), device=label.device)).to(logits_BK)
    label_BK = label.masked_fill(~has_text_K, 0.0)
    total_B = label_BK.sum(dim=1)
    log_total_B = logits_BK.masked_fill(~has_text_K, -math.inf).logsumexp(dim=1)
    return torch.where(total_B > 0, log_total_B * total_B - (label_BK * logits_BK).sum(dim=1), 0.0)


def relational(pairs: Pairs) -> Tensor:
    """Images should resemble each other as their texts do; (B,), from 0 to 4, 0 for a single row.

    l_i = mean over j != i of (z_i . z_j - t_i . t_j)^2, over the normalized rows of weight > 0. Sources: relational
    knowledge distillation, arXiv 1904.05068; VL2Lite, CVPR 2025.
    """
    image_BD, text_BD = pairs.unit_rows()
    image_GD, text_GD, has_weight_G = pairs.gather(image_BD), pairs.gather(text_BD), pairs.has_weight()
    if has_weight_G is None:
        has_weight_G = torch.ones(len(image_GD), dtype=torch.bool, device=image_GD.device)
    num_others = (has_weight_G.sum() - 1).clamp(min=1)

    def loss_of_rows(start: int, end: int) -> Tensor:
        difference_RG = image_BD[start:end] @ image_GD.T - text_BD[start:end] @ text_GD.T
        other_RG = ~pairs.is_own(start, end) & has_weight_G
        return torch.where(other_RG, difference_RG.square(), 0.0).sum(1) / num_others

    return pairs.in_chunks(loss_of_rows)
