"""The gradient of one optimizer step, in one or several micro-batches: that of the whole global batch, exactly.

With the gradient cache the objective sees all images of a step at once, the network one micro-batch at a time. First
the features of all micro-batches are computed without a graph; then the heads and the objective see them together,
which gives the gradient of each feature; last, each micro-batch goes through the network again, and these gradients go
back through it. Source: GradCache, arXiv 2101.06983, algorithm 1. The gradient is that of the large batch, for networks
without BatchNorm (whose statistics are those of a micro-batch either way); the memory is that of a micro-batch.

Shapes: M micro-batches of a step, E embedding sets, B images of a micro-batch, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sightwords.errors import ConfigError
from sightwords.images.loader import ImageBatch
from sightwords.images.seeds import derive_seed
from sightwords.models import Backbone
from sightwords.training.alignment import POOLED
from sightwords.training.config import TrainConfig
from sightwords.training.distributed import Processes
from sightwords.training.mixing import BatchMaker, TextTargets, TrainBatch
from sightwords.training.task import CachedAlignment, Task, Weighting

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class GradientStep:
    """Computes the gradients of optimizer steps; `model` is the task, compiled or spread over processes.

    Raises:
        ConfigError: the gradient cache and balanced gradients are wanted of a network whose classifier is not linear.
    """

    def __init__(
        self,
        config: TrainConfig,
        task: Task,
        model: nn.Module,
        make_batch: BatchMaker,
        scaler: torch.amp.GradScaler,
        group: Processes,
    ) -> None:
        self.config, self.task, self.model, self.make_batch = config, task, model, make_batch
        self.scaler, self.group = scaler, group
        self._uses_cache = task.alignment is not None and config.align.grad_cache and config.accumulate > 1
        if self._uses_cache and config.align.weighting == "gradient_balanced":
            _check_linear(task.backbone, config.features)

    def __call__(self, loaded: Sequence[ImageBatch], step: int, align_weight: float) -> dict[str, Tensor]:
        """Add the gradients of a step's micro-batches to the parameters; return its sums, see `Task.forward`."""
        weighting = self._weighting(align_weight)
        loss_weights = self._loss_weights(loaded)
        cached = self._cached(loaded, loss_weights, step, weighting) if self._uses_cache else None
        sums: dict[str, Tensor] = {}
        for micro in range(len(loaded)):
            batch = self._batch(loaded, loss_weights, micro)
            self._seed(step, micro)
            with self._no_sync(last=micro == len(loaded) - 1):
                with self._autocast():
                    result = self.model(batch, weighting, cached[micro] if cached else None)
                self.scaler.scale(result["loss"]).backward()
            sums = {name: sums.get(name, 0.0) + value for name, value in result["sums"].items()}
        return sums

    def _weighting(self, align_weight: float) -> Weighting:
        # filled on the device: nothing is copied from the host, which would wait
        one = torch.ones((), device=self.group.device)
        return Weighting(one * align_weight, self.config.align.weighting == "gradient_balanced", self.scaler.scale(one))

    def _seed(self, step: int, micro: int) -> None:
        # dropout and drop path are functions of (seed, step, process) too: a resumed run needs no generator state
        torch.manual_seed(derive_seed("step", self.config.seed, step, micro, self.group.rank))

    def _loss_weights(self, loaded: Sequence[ImageBatch]) -> Tensor | None:
        """Return each micro-batch's part of all processes' images and of each set's text weights, (M, 1 + E)."""
        if len(loaded) == 1:
            return None
        sizes = torch.stack([self.make_batch.sizes(batch) for batch in loaded])
        sizes = self.group.sum(sizes.to(self.group.device, non_blocking=True))
        return sizes / sizes.sum(0).clamp(min=1e-12)

    def _batch(self, loaded: Sequence[ImageBatch], loss_weights: Tensor | None, micro: int) -> TrainBatch:
        batch = self.make_batch(loaded[micro])
        if loss_weights is None:
            return batch
        own, *of_texts = loss_weights[micro]
        texts = tuple(replace(text, loss_weight=w) for text, w in zip(batch.texts, of_texts, strict=True))
        return replace(batch, texts=texts, loss_weight=own)

    def _cached(
        self, loaded: Sequence[ImageBatch], loss_weights: Tensor | None, step: int, weighting: Weighting
    ) -> list[CachedAlignment]:
        """Return what each micro-batch needs of the alignment of the whole step."""
        batches, features = self._forward_all(loaded, loss_weights, step)
        whole = _join(batches)
        leaves = {name: torch.cat([part[name] for part in features]).requires_grad_() for name in features[0]}
        task = self.task
        assert task.alignment is not None
        with self._autocast():
            align = task.align(leaves, whole, task.pad_to * len(loaded))
            ratio = self._ratio(leaves[POOLED], whole, align, weighting)
        factor = weighting.weight if ratio is None else weighting.weight * ratio
        by_feature, by_parameter = _gradients(factor * align, leaves, task.alignment, weighting.grad_scale)
        rest = 1.0 if ratio is None else 1 - weighting.weight
        sizes = [len(batch.targets) for batch in batches]
        pieces = {name: torch.split(gradient, sizes) for name, gradient in by_feature.items()}
        return [
            CachedAlignment(
                align.detach(),
                factor,
                rest,
                {name: piece[micro] for name, piece in pieces.items()},
                by_parameter if micro == len(batches) - 1 else [],
            )
            for micro in range(len(batches))
        ]

    def _ratio(self, pooled: Tensor, whole: TrainBatch, align: Tensor, weighting: Weighting) -> Tensor | None:
        if not weighting.balanced:
            return None
        logits = _linear(self.task.backbone.classifier, pooled)
        return self.task.ratio(self.task.classification(logits, whole)[0], align, pooled, weighting)

    def _forward_all(
        self, loaded: Sequence[ImageBatch], loss_weights: Tensor | None, step: int
    ) -> tuple[list[TrainBatch], list[dict[str, Tensor]]]:
        """Return batches without their images, and features, float32, for all micro-batches."""
        batches, features = [], []
        with torch.no_grad(), _frozen_buffers(self.task.backbone):
            for micro in range(len(loaded)):
                batch = self._batch(loaded, loss_weights, micro)
                self._seed(step, micro)
                with self._autocast():
                    found, _ = self.task.features(batch.images)
                features.append({name: feature.float() for name, feature in found.items()})
                batches.append(replace(batch, images=batch.images[:0]))
        return batches, features

    def _autocast(self) -> torch.autocast:
        dtype = _DTYPES.get(self.config.precision)
        return torch.autocast(self.group.device.type, dtype=dtype, enabled=dtype is not None)

    def _no_sync(self, last: bool) -> AbstractContextManager[None]:
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return nullcontext()


def _join(batches: Sequence[TrainBatch]) -> TrainBatch:
    """Return the micro-batches of a step as one, without images; its texts are the whole step's."""
    starts = torch.tensor([0, *(len(batch.targets) for batch in batches)]).cumsum(0).tolist()
    partners = [
        batch.partner + start for batch, start in zip(batches, starts, strict=False) if batch.partner is not None
    ]
    return TrainBatch(
        batches[0].images,
        torch.cat([batch.targets for batch in batches]),
        tuple(
            TextTargets(torch.cat([part.vectors for part in parts]), torch.cat([part.weight for part in parts]))
            for parts in zip(*(batch.texts for batch in batches), strict=True)
        ),
        torch.cat(partners) if partners else None,
        batches[0].lam,
    )


def _check_linear(backbone: Backbone, features: str | None) -> None:
    if features is not None or not isinstance(backbone.classifier, nn.Linear | nn.Conv2d):
        raise ConfigError(
            "--align.grad-cache with --align.weighting gradient_balanced needs features that a linear classifier "
            "reads. Leave out --features, or one of the two."
        )


def _linear(classifier: nn.Module, features: Tensor) -> Tensor:
    """Return the logits (B, K) of pooled features (B, F)."""
    assert isinstance(classifier, nn.Linear | nn.Conv2d)
    return F.linear(features, classifier.weight.flatten(1), classifier.bias)


@contextmanager
def _frozen_buffers(module: nn.Module) -> Iterator[None]:
    """Restore a module's buffers afterwards: the first forward pass must not move BatchNorm's statistics."""
    saved = [buffer.clone() for buffer in module.buffers()]
    yield
    with torch.no_grad():
        for buffer, value in zip(module.buffers(), saved, strict=True):
            buffer.copy_(value)


def _gradients(
    loss: Tensor, features: Mapping[str, Tensor], heads: nn.Module, grad_scale: Tensor
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return the gradients by features and by the heads' parameters, float32, scaled on the way against underflow."""
    parameters = list(heads.parameters())
    found = torch.autograd.grad(loss * grad_scale, [*features.values(), *parameters], materialize_grads=True)
    unscaled = [gradient.float() / grad_scale for gradient in found]
    return dict(zip(features, unscaled, strict=False)), unscaled[len(features) :]
