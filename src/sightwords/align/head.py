"""The whole method as one module, for a training loop of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sightwords.align.gather import pad_batch
from sightwords.align.losses import CenteredClipLoss, build_loss
from sightwords.align.projector import ProjectorKind, ProjectorNorm, build_projector
from sightwords.align.sources import Sources, batch_sources
from sightwords.align.targets import TargetTransform, mix_targets, normalize_targets
from sightwords.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class AlignmentHead(nn.Module):
    """Projector and objective: pooled image features and text vectors in, loss out. Dropped after training.

    Its parameters belong into the optimizer. With several processes wrap it, or the module that holds it, in
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
        temperature: of the objectives that have one, greater than 0.
        projector: "linear" or "mlp"; None = what the objective takes.
        norm: inside the MLP, "batch" for convolutional networks or "none" for transformers.
        learn_temperature: make the temperature a parameter.
        transform: what the text vectors go through first, centering for instance; None = nothing.
        class_text_KD: (K, D) mean text vector of each class, for `class_mean` alone; goes through `transform` too.

    Raises:
        ConfigError: if an argument is not allowed (UnknownNameError for a name).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        loss: str = "clip",
        temperature: float = 0.1,
        projector: ProjectorKind | None = None,
        norm: ProjectorNorm = "batch",
        *,
        learn_temperature: bool = False,
        transform: TargetTransform | None = None,
        class_text_KD: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        if class_text_KD is not None and transform is not None:
            told_K1 = class_text_KD.square().sum(dim=-1, keepdim=True) > 0  # a class without text stays without
            class_text_KD = torch.where(told_K1, transform(class_text_KD), 0.0)
        self.loss = build_loss(loss, temperature, learn_temperature=learn_temperature, class_text_KD=class_text_KD)
        if isinstance(self.loss, CenteredClipLoss) and transform is not None:
            self.loss.subtract_mean = transform.mean is None
        self.projector_kind, self.projector_norm = projector or self.loss.default_projector, norm
        self.projector = build_projector(self.projector_kind, in_features, out_features, norm)
        self.transform = transform

    def forward(
        self,
        features_BF: Tensor,
        text: Tensor,
        weight_B: Tensor | None = None,
        *,
        label: Tensor | None = None,
        partner_B: Tensor | None = None,
        share: float | Tensor | None = None,
        capacity: int | None = None,
        group: ProcessGroup | None = None,
    ) -> Tensor:
        """Alignment loss of a batch, not yet multiplied by its weight in the whole loss.

        Args:
            features_BF: (B, F) pooled features, in any float type.
            text: (B, D) text vectors, row i describes image i; or (B, S, D), S descriptions of each image, which are
                equal positives and never negatives of one another.
            weight_B: (B,) weight of each image, 0 = no description; None = 1 for all.
            label: (B,) integer classes or (B, K) class shares, mixed as the images are; for objectives that need them.
            partner_B: (B,) integer, the row that each image is mixed with by mixup or cutmix; the text, not yet mixed,
                is mixed alike, and the partner is a known positive.
            share: what each image keeps of itself, a number or (B,). All processes mix or none does.
            capacity: with several processes and uneven local batches, the size of the largest, the same in every
                process; rows are padded to it after the projector. Then either all processes give it or none does.
            group: the processes that share the batch; None = the default group, if there is one.

        Returns:
            Scalar in float32 (float64 if an input is), see `sightwords.align.losses`.

        Raises:
            ConfigError: if shapes do not fit, labels are missing, or a partner comes without a share.
        """
        if (partner_B is None) != (share is None):
            raise ConfigError("Mixed images need partner_B and share; only one of them came.")
        rows = self._rows(features_BF, text, weight_B, label)
        if self.transform is not None:
            rows.text = self.transform(rows.text)
        if partner_B is not None and share is not None:
            rows.text, rows.weight = mix_targets(self.loss.target(rows.text), rows.weight, partner_B, share)
            rows.is_weighted = True
        num_texts = text.shape[1] if text.ndim == 3 else 1
        if self.loss.takes_sources and (partner_B is not None or num_texts > 1):
            rows.sources = batch_sources(rows.weight, capacity or len(rows.weight), partner_B, share, group)
        rows.flatten(num_texts)
        if capacity is not None:
            rows.pad(capacity * num_texts)
        weight = rows.weight if rows.is_weighted else None
        loss: Tensor = self.loss(rows.image, rows.text, weight, group, label=rows.label, sources=rows.sources)
        return loss

    def _rows(self, features_BF: Tensor, text: Tensor, weight_B: Tensor | None, label: Tensor | None) -> _Rows:
        image_BD = self.projector(features_BF)
        weight = torch.ones(len(text), device=text.device) if weight_B is None else weight_B
        return _Rows(image_BD, text, weight, weight_B is not None, label if self.loss.needs_labels else None)

    def project(self, features_BF: Tensor) -> Tensor:
        """Normalized projections (B, D) in the space of the text vectors, for retrieval or inspection.

        Args:
            features_BF: (B, F) pooled features.
        """
        return normalize_targets(self.projector(features_BF))


@dataclass
class _Rows:
    """What goes into the objective, a row for each text of each image."""

    image: Tensor
    text: Tensor
    weight: Tensor
    is_weighted: bool
    label: Tensor | None
    sources: Sources | None = None

    def flatten(self, num_texts: int) -> None:
        """Make a row of each of an image's texts; together they weigh as much as the image."""
        if self.text.ndim == 2:
            return
        self.text = self.text.flatten(0, 1)
        self.image, self.weight = (x.repeat_interleave(num_texts, 0) for x in (self.image, self.weight / num_texts))
        self.label = None if self.label is None else self.label.repeat_interleave(num_texts, 0)
        self.sources = None if self.sources is None else self.sources.repeat(num_texts)

    def pad(self, capacity: int) -> None:
        """Append rows of weight 0."""
        self.image, self.text, self.weight = (pad_batch(x, capacity) for x in (self.image, self.text, self.weight))
        self.label = None if self.label is None else pad_batch(self.label, capacity)
        self.sources = None if self.sources is None else self.sources.pad(capacity)
        self.is_weighted = True
