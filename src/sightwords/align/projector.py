"""Projection heads: from the network's pooled features to the dimension of the text vectors.

Used in training only; the deployed network does not hold them. Kinds as in GPT4Image (arXiv 2306.00693): a linear map,
or an MLP with one hidden layer of twice the output's width, with BatchNorm for convolutional networks and without for
transformers. Weights start from a truncated normal of standard deviation 0.02, biases from 0.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from sightwords.errors import ConfigError, UnknownNameError

ProjectorKind = Literal["linear", "mlp"]
ProjectorNorm = Literal["batch", "none"]

INIT_STD = 0.02


def build_projector(
    kind: ProjectorKind,
    in_features: int,
    out_features: int,
    norm: ProjectorNorm = "batch",
) -> nn.Sequential:
    """A projection head, (B, in_features) -> (B, out_features), not normalized.

    Args:
        kind: "linear" (no bias) or "mlp" (linear, norm, ReLU, linear; hidden width 2 * out_features).
        in_features: number of features the classifier reads.
        out_features: dimension of the text vectors.
        norm: "batch" (convolutional networks) or "none" (transformers) inside the MLP; "linear" has no norm.

    Returns:
        The module. With BatchNorm, several processes each use the statistics of their own rows, as the network's own
        BatchNorm does, unless converted by `torch.nn.SyncBatchNorm.convert_sync_batchnorm`.

    Raises:
        UnknownNameError: if the kind or the norm is not known.
        ConfigError: if a number of features is not positive.
    """
    if kind not in get_args(ProjectorKind):
        raise UnknownNameError("projector", kind, get_args(ProjectorKind))
    if norm not in get_args(ProjectorNorm):
        raise UnknownNameError("projector norm", norm, get_args(ProjectorNorm))
    if in_features < 1 or out_features < 1:
        raise ConfigError(f"A projector from {in_features} to {out_features} features: both must be 1 or more.")
    if kind == "linear":
        projector = nn.Sequential(nn.Linear(in_features, out_features, bias=False))
    else:
        hidden = 2 * out_features
        # BatchNorm subtracts the mean, so a bias before it would do nothing
        first = nn.Linear(in_features, hidden, bias=norm == "none")
        norms: list[nn.Module] = [_RowBatchNorm(hidden)] if norm == "batch" else []
        projector = nn.Sequential(first, *norms, nn.ReLU(inplace=True), nn.Linear(hidden, out_features))
    for module in projector:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return projector


class _RowBatchNorm(nn.BatchNorm1d):
    """BatchNorm that takes a batch of one row (or none) in training too, where torch's raises.

    One row has no variance. The last batch of an epoch may be that small, and a run should not die of it after hours:
    such a batch is normalized by the running statistics, as in evaluation, and does not change them. Gradients flow.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] < 2:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)
