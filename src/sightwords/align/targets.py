"""Text targets: centering, whitening and normalizing them, class means, and mixing as mixup and cutmix mix the images.

Shapes, as suffixes of names: N vectors, C vectors of a chunk, B rows of this process, S texts of an image, D dimension
of the text vectors, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightwords.errors import ConfigError


def normalize_targets(text: Tensor, power: int = 2) -> Tensor:
    """Rows of unit length, in float32 (float64 stays float64); a row of zeros stays zeros.

    Args:
        text: (..., D) text vectors, any float type.
        power: 2 for Euclidean length, 1 for the sum of magnitudes.
    """
    return F.normalize(_at_least_float32(text), p=power, dim=-1)


class TargetTransform(nn.Module):
    """What text vectors go through before anything else: t -> normalize((t - mean) @ matrix).

    The mean and the matrix are buffers: they are saved with the head and never trained. For whitening take both from
    `fit_whitening`; for centering the mean alone (the vectors of one data set share most of their direction, and an
    objective learns little from what they share).

    Args:
        mean_D: (D,) is subtracted; None = nothing.
        matrix_DD: (D, D), multiplied from the right; None = nothing.
        normalize: whether rows get unit length at the end.

    Raises:
        ConfigError: if the shapes do not fit.
    """

    mean: Tensor | None
    matrix: Tensor | None

    def __init__(self, mean_D: Tensor | None = None, matrix_DD: Tensor | None = None, normalize: bool = True) -> None:
        super().__init__()
        _check_transform(mean_D, matrix_DD)
        self.register_buffer("mean", None if mean_D is None else _at_least_float32(mean_D.detach()))
        self.register_buffer("matrix", None if matrix_DD is None else _at_least_float32(matrix_DD.detach()))
        self.normalize = normalize

    def forward(self, text: Tensor) -> Tensor:
        """Transformed vectors in float32 (float64 stays float64), whatever autocast says.

        Args:
            text: (..., D) text vectors, any float type.
        """
        text = _at_least_float32(text)
        with torch.autocast(device_type=text.device.type, enabled=False):
            if self.mean is not None:
                text = text - self.mean.to(text.dtype)
            if self.matrix is not None:
                text = text @ self.matrix.to(text.dtype)
            return normalize_targets(text) if self.normalize else text

    def extra_repr(self) -> str:
        return f"mean={self.mean is not None}, matrix={self.matrix is not None}, normalize={self.normalize}"


def fit_whitening(vectors: Tensor | Iterable[Tensor], shrinkage: float = 0.01) -> tuple[Tensor, Tensor]:
    """Mean and matrix that make vectors white: (t - mean) @ matrix has the same variance in all directions.

    ZCA: the matrix is the symmetric inverse square root of the covariance, so of all whitened vectors these stay
    nearest to the given ones (Kessy, Lewin and Strimmer, arXiv 1512.00809, section 3). The covariance is first drawn
    towards a ball of equal trace, (1 - a) C + a trace(C) / D I with a = `shrinkage` (Ledoit and Wolf 2004), so that a
    direction with little or no variance is multiplied at most 1 / sqrt(a) times as much as an average one, not blown
    up.

    Args:
        vectors: (N, D), or chunks (C, D) of them, read once and never held together; any float type.
        shrinkage: a, from 0 (exactly white; a direction without variance is then left out) to 1 (centering alone).

    Returns:
        (D,) mean and (D, D) symmetric matrix, float32, computed in float64.

    Raises:
        ConfigError: if the shrinkage is not allowed, or the vectors have no variance or hold NaN.
    """
    if not 0 <= shrinkage <= 1:
        raise ConfigError(f"The shrinkage of whitening is {shrinkage}; it must be from 0 to 1, usually 0.01.")
    mean_D, covariance_DD, mean_square = _moments([vectors] if isinstance(vectors, Tensor) else vectors)
    variance = float(covariance_DD.trace())
    if not variance > 1e-20 * mean_square:  # rounding alone, or NaN
        raise ConfigError(
            "Whitening needs text vectors that differ from one another and are finite; their variance is "
            f"{variance:g}. Are there at least two different descriptions?"
        )
    ball_D = torch.full_like(mean_D, variance / len(mean_D))
    eigenvalues_D, basis_DD = torch.linalg.eigh((1 - shrinkage) * covariance_DD + shrinkage * ball_D.diag())
    present_D = eigenvalues_D > 1e-12 * eigenvalues_D[-1]
    scale_D = torch.where(present_D, eigenvalues_D.clamp(min=1e-300).rsqrt(), 0.0)
    return mean_D.float(), ((basis_DD * scale_D) @ basis_DD.T).float()


def class_means(chunks: Iterable[tuple[Tensor, Tensor]], num_classes: int) -> Tensor:
    """Mean text vector of each class: what its descriptions have in common.

    m_k = sum_n y_nk t_n / sum_n y_nk with t_n of unit length and y_nk the probability of class k in image n.

    Args:
        chunks: pairs of (C, D) text vectors and (C,) integer classes or (C, K) class probabilities.
        num_classes: K.

    Returns:
        (K, D) means, float32, computed in float64, not of unit length; zeros where a class has no text.

    Raises:
        ConfigError: if there are no chunks.
    """
    total_KD = weight_K = None
    for text_CD, label in chunks:
        text_CD = normalize_targets(text_CD.double())
        if total_KD is None or weight_K is None:
            total_KD, weight_K = text_CD.new_zeros(num_classes, text_CD.shape[1]), text_CD.new_zeros(num_classes)
        if label.ndim == 1:
            total_KD.index_add_(0, label, text_CD)
            weight_K.index_add_(0, label, text_CD.new_ones(len(label)))
        else:
            total_KD += label.double().T @ text_CD
            weight_K += label.double().sum(dim=0)
    if total_KD is None or weight_K is None:
        raise ConfigError("There are no text vectors to take class means of. Does any image have a description?")
    return (total_KD / torch.where(weight_K > 0, weight_K, 1.0)[:, None]).float()


def mix_targets(text: Tensor, weight_B: Tensor, partner_B: Tensor, lam: float | Tensor) -> tuple[Tensor, Tensor]:
    """Targets of mixed images: image i is lam of itself and 1 - lam of its partner, and so is its text.

    t'_i = lam_i t_i + (1 - lam_i) t_partner(i), and the weights as `mix_weights` says. The mixed rows are shorter
    than unit length; objectives that compare directions normalize them. Source: mixup, arXiv 1710.09412, equation 1,
    applied to the text; for cutmix lam is the part of the area that stays.

    Args:
        text: (B, D) text vectors, or (B, S, D): the s-th text of an image is mixed with its partner's s-th. They
            should be of unit length if both sides are to count by lam alone. A row of weight 0 may hold anything.
        weight_B: (B,) weights of the rows, 0 = no description.
        partner_B: (B,) integer, the row that each row is mixed with.
        lam: what a row keeps of itself, from 0 to 1, a number for all rows or (B,) one a row.

    Returns:
        Mixed targets in the shape of `text` (zeros where the weight is 0), in float32 or float64, and (B,) their
        weights.
    """
    text = _at_least_float32(text)
    one_a_row = (-1, *[1] * (text.ndim - 1))
    mixed_weight_B = mix_weights(weight_B.to(text.dtype), partner_B, lam)
    lam_rows = lam_of_rows(lam, mixed_weight_B).view(one_a_row)
    text = torch.where((weight_B > 0).view(one_a_row), text, 0.0)
    mixed = lam_rows * text + (1 - lam_rows) * text[partner_B]
    return torch.where((mixed_weight_B > 0).view(one_a_row), mixed, 0.0), mixed_weight_B


def mix_weights(weight_B: Tensor, partner_B: Tensor, lam: float | Tensor) -> Tensor:
    """Weights of mixed images: w'_i = lam_i w_i + (1 - lam_i) w_partner(i).

    A side that takes part (its lam is not 0) but has no description (its weight is 0) leaves the mixed image without
    one: w'_i = 0. So a lam of 1 leaves the row as it is, whatever the partner has.

    Args:
        weight_B: (B,) weights of the rows, 0 = no description.
        partner_B: (B,) integer, the row that each row is mixed with.
        lam: what a row keeps of itself, from 0 to 1, a number for all rows or (B,) one a row.

    Returns:
        (B,) weights, in float32 or float64.
    """
    weight_B = _at_least_float32(weight_B)
    lam_B, partner_weight_B = lam_of_rows(lam, weight_B), weight_B[partner_B]
    lacking_B = ((lam_B > 0) & (weight_B <= 0)) | ((lam_B < 1) & (partner_weight_B <= 0))
    return (lam_B * weight_B + (1 - lam_B) * partner_weight_B).masked_fill(lacking_B, 0.0)


def lam_of_rows(lam: float | Tensor, like_B: Tensor) -> Tensor:
    """Return `lam` (one number, or (B,)) of each row, (B,), in the float type of `like_B`."""
    # no torch.tensor, which would copy from the host and wait
    return torch.ones_like(like_B) * (lam.to(like_B.dtype) if isinstance(lam, Tensor) else lam)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check_transform(mean_D: Tensor | None, matrix_DD: Tensor | None) -> None:
    """Broadcasting would turn a wrong shape into wrong vectors, so refuse it."""
    if mean_D is not None and mean_D.ndim != 1:
        raise ConfigError(f"The mean of the text vectors has shape {tuple(mean_D.shape)}; it must be (dimension,).")
    if matrix_DD is None:
        return
    dimension = matrix_DD.shape[0] if mean_D is None else mean_D.shape[0]
    if matrix_DD.shape != (dimension, dimension):
        raise ConfigError(f"The matrix has shape {tuple(matrix_DD.shape)}; it must be ({dimension}, {dimension}).")


def _moments(chunks: Iterable[Tensor]) -> tuple[Tensor, Tensor, float]:
    """Mean (D,), covariance (D, D) and mean squared length, float64.

    Sums are taken of differences to the first chunk's mean: what all vectors share would cost digits of the variance.
    """
    origin_D, count, square = None, 0, 0.0
    for text_CD in chunks:
        if not len(text_CD):
            continue
        text_CD = text_CD.double()
        if origin_D is None:
            origin_D = text_CD.mean(dim=0)
            sum_D, product_DD = torch.zeros_like(origin_D), origin_D.new_zeros(len(origin_D), len(origin_D))
        shifted_CD = text_CD - origin_D
        count, square = count + len(text_CD), square + float(text_CD.square().sum())
        sum_D += shifted_CD.sum(dim=0)
        product_DD += shifted_CD.T @ shifted_CD
    if origin_D is None:
        raise ConfigError("There are no text vectors to whiten. Does any image have a description?")
    offset_D = sum_D / count
    return origin_D + offset_D, product_DD / count - torch.outer(offset_D, offset_D), square / count
