"""The whole method as one module, for a training loop of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sightwords.align.gather import pad_batch
from sightwords.align.losses import build_loss
from sightwords.align.projector import ProjectorKind, ProjectorNorm, build_projector
from sightwords.align.targets import normalize_targets

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class AlignmentHead(nn.Module):
    """Projector and objective: pooled image features and text vectors in, loss out. Dropped after training.

    Its parameters belong into the optimiser. With several processes wrap it, or the module that holds it, in
    DistributedDataParallel; the loss is then that of the global batch (see `sightwords.align.losses`).

    Example:
        >>> import torch
        >>> from sightwords.align import AlignmentHead
        >>> backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 16), torch.nn.ReLU())
        >>> classifier = torch.nn.Linear(16, 5)
        >>> head = AlignmentHead(in_features=16, out_features=384, loss="clip", temperature=0.1)
        >>> parameters = [*backbone.parameters(), *classifier.parameters(), *head.parameters()]
        >>> optimizer = torch.optim.AdamW(parameters, lr=1e-3)
        >>> images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
        >>> text = torch.randn(4, 384)  # vectors of the descriptions of these images
        >>> weight = torch.tensor([1.0, 1.0, 1.0, 0.0])  # the last image has no description
        >>> features = backbone(images)
        >>> loss = torch.nn.functional.cross_entropy(classifier(features), labels) + 0.3 * head(features, text, weight)
        >>> loss.backward()
        >>> optimizer.step()

    Args:
        in_features: number of features the classifier reads.
        out_features: dimension of the text vectors.
        loss: one of `sightwords.align.LOSSES`.
        temperature: of the contrastive losses, greater than 0.
        projector: "linear" or "mlp".
        norm: inside the MLP, "batch" for convolutional networks or "none" for transformers.

    Raises:
        ConfigError: if an argument is not allowed (UnknownNameError for a name).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        loss: str = "clip",
        temperature: float = 0.1,
        projector: ProjectorKind = "mlp",
        norm: ProjectorNorm = "batch",
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.projector = build_projector(projector, in_features, out_features, norm)
        self.loss = build_loss(loss, temperature)

    def forward(
        self,
        features_BF: Tensor,
        text_BD: Tensor,
        weight_B: Tensor | None = None,
        *,
        capacity: int | None = None,
        group: ProcessGroup | None = None,
    ) -> Tensor:
        """Alignment loss of a batch, not yet multiplied by its weight in the whole loss.

        Args:
            features_BF: (B, F) pooled features, in any float type.
            text_BD: (B, D) text vectors; row i describes image i.
            weight_B: (B,) weight of each row, 0 = no description; None = 1 for all.
            capacity: with several processes and uneven local batches, the size of the largest, the same in every
                process; rows are padded to it after the projector. Then either all processes give it or none does.
            group: the processes that share the batch; None = the default group, if there is one.

        Returns:
            Scalar in float32 (float64 if an input is), see `sightwords.align.losses`.
        """
        image_BD = self.projector(features_BF)
        if capacity is not None:
            weight_B = torch.ones_like(text_BD[:, 0]) if weight_B is None else weight_B
            image_BD, text_BD, weight_B = (pad_batch(x, capacity) for x in (image_BD, text_BD, weight_B))
        return self.loss(image_BD, text_BD, weight_B, group)  # type: ignore[no-any-return]

    def project(self, features_BF: Tensor) -> Tensor:
        """Normalised projections (B, D) in the space of the text vectors, for retrieval or inspection.

        Args:
            features_BF: (B, F) pooled features.
        """
        return normalize_targets(self.projector(features_BF))
