"""Objectives that align image features with text vectors: pure functions first, then thin modules.

Shapes, as suffixes of names:
    B  rows (images) of this process
    G  rows of all processes together, G = W * B for W processes; G = B for one
    D  dimension of the text vectors

What all objectives have in common:

- Inputs are normalised to unit length inside. Everything is computed in float32 or, if an input is float64, in
  float64, whatever autocast says.
- `weight_B` (0 or more, one number a row; None means 1 for all) says how much an image counts. The loss is the
  weighted mean over all rows of all processes, sum_i w_i l_i / sum_i w_i. A row of weight 0 (an image without a
  description, a row of padding) takes no part, neither as anchor nor as negative, and may hold anything, NaN too. If
  all weights are 0, the loss is 0 and so is its gradient.
- Where torch.distributed is initialised, the loss is that of the global batch. A process returns W times its share,
  W * sum_local(w_i l_i) / sum_global(w_i). The mean over the processes is the loss of the whole batch, and averaging
  the gradients over the processes, as DistributedDataParallel does, gives the gradient of that loss, exactly. Local
  batches must have one size (`sightwords.align.pad_batch`), and either all processes give weights or none does.
- Nothing here waits for the accelerator (no value is read back to Python).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightwords.align.gather import gather_batch, world_rank, world_size
from sightwords.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def clip_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    temperature: float,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Symmetric contrastive loss: the mean of the image-to-text and the text-to-image cross entropy.

    With z and t the normalised rows, s_ij = z_i . t_j / temperature over all rows of all processes:
    l_i = (logsumexp_j s_ij + logsumexp_j s_ji) / 2 - s_ii. Source: CLIP, arXiv 2103.00020, figure 3; as alignment
    loss GPT4Image, arXiv 2306.00693.

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i.
        temperature: divides the cosines, greater than 0.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the temperature or the shapes are not allowed.
    """
    _check_temperature(temperature)
    _check_shapes(image_BD, text_BD, weight_B)
    with _full_precision(image_BD):
        image_BD, text_BD, weight_B = _prepare(image_BD, text_BD, weight_B)
        weight_G = _gather_weights(weight_B, group)
        to_text_BG = image_BD @ gather_batch(text_BD, group).T / temperature
        to_image_BG = text_BD @ gather_batch(image_BD, group).T / temperature
        loss_B = (_match_loss(to_text_BG, weight_G, group) + _match_loss(to_image_BG, weight_G, group)) / 2
        return _global_mean(loss_B, weight_B, weight_G, group)


def contrastive_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    temperature: float,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Image-to-text half of `clip_loss`: each image must find its own text among all texts.

    l_i = logsumexp_j s_ij - s_ii with s as in `clip_loss`. Source: InfoNCE, arXiv 1807.03748, equation 4; called
    `ctr` in the code of GPT4Image.

    Args:
        image_BD: (B, D) projected image features, any length.
        text_BD: (B, D) text vectors, any length; row i describes image i.
        temperature: divides the cosines, greater than 0.
        weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.

    Returns:
        Scalar, the weighted mean over the global batch (this process's share of it, times W).

    Raises:
        ConfigError: if the temperature or the shapes are not allowed.
    """
    _check_temperature(temperature)
    _check_shapes(image_BD, text_BD, weight_B)
    with _full_precision(image_BD):
        image_BD, text_BD, weight_B = _prepare(image_BD, text_BD, weight_B)
        weight_G = _gather_weights(weight_B, group)
        to_text_BG = image_BD @ gather_batch(text_BD, group).T / temperature
        return _global_mean(_match_loss(to_text_BG, weight_G, group), weight_B, weight_G, group)


def cosine_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    weight_B: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Negative cosine, l_i = 2 - 2 z_i . t_i: the squared distance of the normalised rows. No negatives.

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
    _check_shapes(image_BD, text_BD, weight_B)
    with _full_precision(image_BD):
        image_BD, text_BD, weight_B = _prepare(image_BD, text_BD, weight_B)
        loss_B = 2 - 2 * (image_BD * text_BD).sum(dim=1)
        return _global_mean(loss_B, weight_B, _gather_weights(weight_B, group), group)


class AlignmentLoss(nn.Module):
    """What every objective's module has in common: `forward(image_BD, text_BD, weight_B, group)` gives a scalar.

    Args:
        temperature: fixed, greater than 0; objectives without a temperature do not read it.

    Raises:
        ConfigError: if the temperature is not allowed.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        _check_temperature(temperature)
        self.temperature = float(temperature)

    def forward(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        weight_B: Tensor | None = None,
        group: ProcessGroup | None = None,
    ) -> Tensor:
        """Arguments and result as those of the objective's function."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


class ClipLoss(AlignmentLoss):
    """Module of `clip_loss`."""

    def forward(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        weight_B: Tensor | None = None,
        group: ProcessGroup | None = None,
    ) -> Tensor:
        return clip_loss(image_BD, text_BD, self.temperature, weight_B, group)


class ContrastiveLoss(AlignmentLoss):
    """Module of `contrastive_loss`."""

    def forward(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        weight_B: Tensor | None = None,
        group: ProcessGroup | None = None,
    ) -> Tensor:
        return contrastive_loss(image_BD, text_BD, self.temperature, weight_B, group)


class CosineLoss(AlignmentLoss):
    """Module of `cosine_loss`; the temperature is not read."""

    def forward(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        weight_B: Tensor | None = None,
        group: ProcessGroup | None = None,
    ) -> Tensor:
        return cosine_loss(image_BD, text_BD, weight_B, group)


LOSSES: dict[str, type[AlignmentLoss]] = {"clip": ClipLoss, "contrastive": ContrastiveLoss, "cosine": CosineLoss}
"""Name -> module, as `--align.loss` knows them."""


def build_loss(name: str, temperature: float = 0.1) -> AlignmentLoss:
    """The module of an objective.

    Args:
        name: one of `LOSSES`.
        temperature: fixed, greater than 0; `cosine` does not read it.

    Raises:
        UnknownNameError: if there is no such objective.
        ConfigError: if the temperature is not allowed.
    """
    if name not in LOSSES:
        raise UnknownNameError("alignment loss", name, LOSSES)
    return LOSSES[name](temperature)


def _check_temperature(temperature: float) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"The temperature is {temperature}; it must be a number greater than 0, usually 0.05 to 0.2.")


def _check_shapes(image_BD: Tensor, text_BD: Tensor, weight_B: Tensor | None) -> None:
    """Broadcasting would turn a wrong shape into a wrong loss, so refuse it."""
    if image_BD.ndim != 2 or image_BD.shape != text_BD.shape:
        raise ConfigError(
            f"Image features have shape {tuple(image_BD.shape)} and text vectors {tuple(text_BD.shape)}; "
            "both must be (rows, dimension) and equal. Is the projector made for this encoder's dimension?"
        )
    if weight_B is not None and weight_B.shape != image_BD.shape[:1]:
        raise ConfigError(f"Weights have shape {tuple(weight_B.shape)}; it must be ({image_BD.shape[0]},), one a row.")


def _full_precision(x: Tensor) -> torch.autocast:
    """Autocast would compute the similarities in half precision, too coarse once divided by the temperature."""
    return torch.autocast(device_type=x.device.type, enabled=False)


def _prepare(image_BD: Tensor, text_BD: Tensor, weight_B: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Normalised rows and weights in the precision of the computation; rows of weight 0 become zeros."""
    dtype = torch.promote_types(torch.promote_types(image_BD.dtype, text_BD.dtype), torch.float32)
    image_BD, text_BD = image_BD.to(dtype), text_BD.to(dtype)
    if weight_B is not None:
        weight_B = weight_B.to(dtype)
        present_B1 = (weight_B > 0)[:, None]
        image_BD, text_BD = torch.where(present_B1, image_BD, 0.0), torch.where(present_B1, text_BD, 0.0)
    return F.normalize(image_BD, dim=1), F.normalize(text_BD, dim=1), weight_B


def _gather_weights(weight_B: Tensor | None, group: ProcessGroup | None) -> Tensor | None:
    return None if weight_B is None else gather_batch(weight_B, group)


def _match_loss(logits_BG: Tensor, weight_G: Tensor | None, group: ProcessGroup | None) -> Tensor:
    """Cross entropy (B,) of each local anchor for its own partner among all partners of weight > 0."""
    num_rows, num_columns = logits_BG.shape
    own_B = world_rank(group) * num_rows + torch.arange(num_rows, device=logits_BG.device)
    if weight_G is not None:
        # an anchor's own column always stays: an anchor of weight 0 then has a finite loss, which its weight cancels
        other_BG = own_B[:, None] != torch.arange(num_columns, device=logits_BG.device)
        logits_BG = logits_BG.masked_fill(other_BG & (weight_G <= 0), -math.inf)
    return F.cross_entropy(logits_BG, own_B, reduction="none")


def _global_mean(
    loss_B: Tensor, weight_B: Tensor | None, weight_G: Tensor | None, group: ProcessGroup | None
) -> Tensor:
    """W * sum_local(w_i l_i) / sum_global(w_i), and 0 where there is no weight at all."""
    if weight_B is None or weight_G is None:
        return loss_B.mean()  # all local batches have one size: W * sum_local / (W * B)
    total = weight_G.sum()
    return world_size(group) * (weight_B * loss_B).sum() / torch.where(total > 0, total, 1.0)
