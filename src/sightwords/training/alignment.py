"""The heads of a training: one for each embedding set and each layer that is aligned, and their common loss.

Shapes: B images of this process, F width of a feature, D width of the text vectors, N training images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from sightwords.align import OBJECTIVES, AlignmentHead, TargetTransform, class_means, fit_whitening
from sightwords.errors import ConfigError
from sightwords.images.dataset import Split
from sightwords.models import Backbone
from sightwords.training.batches import TextJoin, TextTargets
from sightwords.training.config import AlignConfig

POOLED = "pooled"
WORDS_ENCODER = "builtin:words"


class Alignment(nn.Module):
    """Alignment loss of a network's features with the vectors of one or several embedding sets.

    Args:
        heads: for each embedding set a mapping of what is aligned (`POOLED`, or a layer's path) to its head.
        encoder_weights: factor of each embedding set.
        layer_weight: factor of the mean over the layers, beside the pooled feature.
    """

    def __init__(
        self, heads: list[dict[str, AlignmentHead]], encoder_weights: list[float], layer_weight: float
    ) -> None:
        super().__init__()
        # a module's name must not hold a dot
        self._sources = [list(of_set) for of_set in heads]
        self.heads = nn.ModuleList(nn.ModuleList(of_set.values()) for of_set in heads)
        self.encoder_weights, self.layer_weight = encoder_weights, layer_weight

    def forward(
        self,
        features: Mapping[str, Tensor],
        texts: tuple[TextTargets, ...],
        label_BK: Tensor,
        partner_B: Tensor | None,
        share: float | None,
        capacity: int,
    ) -> Tensor:
        """Return the alignment loss of the global batch, not yet weighted against the classification loss; scalar.

        Args:
            features: (B, F) of `POOLED` and of every layer.
            texts: of each embedding set.
            label_BK: class shares, for the objectives that read them.
            partner_B: row that each image is mixed with, or None.
            share: what each image keeps of itself.
            capacity: largest number of images that a process can have.
        """
        total = features[POOLED].new_zeros((), dtype=torch.float32)
        for sources, heads, factor, text in zip(self._sources, self.heads, self.encoder_weights, texts, strict=True):
            assert isinstance(heads, nn.ModuleList)
            for source, head in zip(sources, heads, strict=True):
                part = factor if source == POOLED else factor * self.layer_weight / (len(sources) - 1)
                loss = head(
                    features[source],
                    text.vectors,
                    text.weight,
                    label=label_BK,
                    partner_B=partner_B,
                    lam=share,
                    pad_to=capacity,
                )
                total = total + part * text.portion * loss
        return total

    def pooled_heads(self) -> list[AlignmentHead]:
        """Return the head of the pooled feature for each embedding set."""
        found = []
        for sources, heads in zip(self._sources, self.heads, strict=True):
            assert isinstance(heads, nn.ModuleList)
            head = heads[sources.index(POOLED)]
            assert isinstance(head, AlignmentHead)
            found.append(head)
        return found


def build_alignment(
    config: AlignConfig, backbone: Backbone, joins: list[TextJoin], images: Split, num_classes: int
) -> Alignment:
    """Return the heads that a training needs.

    Args:
        config: objective, projector, targets.
        backbone: says the widths of its features.
        joins: the embedding sets.
        images: the training images, for class means.
        num_classes: K.

    Raises:
        ConfigError: the objective does not fit the vectors.
    """
    norm: Literal["none", "batch"] = "none" if backbone.is_transformer else "batch"
    widths = {POOLED: backbone.num_features, **backbone.layer_widths}
    heads = []
    for join in joins:
        _check_vectors(config, join)
        means = _class_text(join, images, num_classes) if OBJECTIVES[config.loss].needs_class_text else None
        heads.append(
            {
                source: AlignmentHead(
                    width,
                    join.dimension,
                    config.loss,
                    config.temperature,
                    config.projector,
                    norm,
                    learn_temperature=config.learn_temperature,
                    transform=_transform(config, join),
                    class_text_KD=means,
                )
                for source, width in widths.items()
            }
        )
    return Alignment(heads, config.encoder_weights or [1.0] * len(joins), config.layer_weight)


def _check_vectors(config: AlignConfig, join: TextJoin) -> None:
    has_words = str(join.set.meta.get("encoder", "")).startswith(WORDS_ENCODER)
    if config.loss == "tokens" and not has_words:
        raise ConfigError(
            f"--align.loss tokens needs word counts, and {join.set.folder} holds vectors of "
            f"{join.set.meta['encoder']}. Make a set with: sightwords embed D.db --encoder {WORDS_ENCODER}"
        )


def _transform(config: AlignConfig, join: TextJoin) -> TargetTransform | None:
    """Return what the vectors go through before anything else."""
    objective = OBJECTIVES[config.loss]
    if config.targets == "whitened":
        mean, matrix = fit_whitening(torch.from_numpy(vectors) for _, vectors in join.chunks())
        return TargetTransform(mean, matrix, normalize=objective.text_norm == 2)
    if config.targets == "centered" or objective.settings.get("center"):
        return TargetTransform(torch.from_numpy(np.array(join.set.mean)), normalize=objective.text_norm == 2)
    return None


def _class_text(join: TextJoin, images: Split, num_classes: int) -> Tensor:
    """Return the mean vector of each class's descriptions, float32, (K, D); several labels of an image share alike."""
    single = torch.from_numpy(images.first_labels())

    def labels(owners: np.ndarray) -> Tensor:
        if not images.multi_label:
            return single[torch.from_numpy(owners)]
        shares = torch.zeros(len(owners), num_classes)
        for row, owner in enumerate(owners.tolist()):
            own = images.labels(owner)
            shares[row, torch.from_numpy(own)] = 1 / max(1, len(own))
        return shares

    chunks = ((torch.from_numpy(vectors), labels(owners)) for owners, vectors in join.chunks())
    return class_means(chunks, num_classes)


def projector_tensors(alignment: Alignment | None) -> dict[str, Tensor]:
    """Return the pooled feature's projectors, with what the text vectors go through, by name; none for a baseline."""
    tensors: dict[str, Tensor] = {}
    for number, head in enumerate(alignment.pooled_heads() if alignment is not None else []):
        named = {f"projector.{name}": tensor for name, tensor in head.projector.state_dict().items()}
        named |= head.transform.state_dict() if head.transform is not None else {}
        tensors |= {f"{number}.{name}": tensor for name, tensor in named.items()}
    return tensors
