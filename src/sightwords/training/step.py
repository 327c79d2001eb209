"""The gradient of one optimizer step, in one or several micro-batches: that of the whole global batch, exactly.

With the gradient cache the objective sees all images of a step at once, the network one micro-batch at a time. First
features and logits of all micro-batches are computed without a graph; then the loss of all of them together gives the
gradient by each; last, each micro-batch goes through the network again, and these gradients go back through it.
Source: GradCache, arXiv 2101.06983, algorithm 1. The gradient is that of the large batch, for networks without
BatchNorm (whose statistics are those of a micro-batch either way); the memory is that of a micro-batch.

Shapes: M micro-batches of a step, E embedding sets, B images of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sightwords.images.loader import ImageBatch
from sightwords.images.seeds import derive_seed
from sightwords.training.config import TrainConfig
from sightwords.training.distributed import Processes
from sightwords.training.mixing import BatchMaker, TextTargets, TrainBatch
from sightwords.training.task import CachedGradients, Task, Weighting

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class GradientStep:
    """Computes the gradients of optimizer steps; `model` is the task, compiled or spread over processes."""

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

    def __call__(self, loaded: Sequence[ImageBatch], step: int, align_weight: float) -> dict[str, Tensor]:
        """Add the gradients of a step's micro-batches to the parameters; return its sums, see `Task.loss`."""
        weighting = self._weighting(align_weight)
        cached: Sequence[CachedGradients | None] = [None] * len(loaded)
        sums: dict[str, Tensor] = {}
        if self._uses_cache:
            cached, sums = self._cached(loaded, step, weighting)
        loss_weights = None if self._uses_cache else self._loss_weights(loaded)
        for micro, images in enumerate(loaded):
            batch = self.make_batch(images)
            if loss_weights is not None:
                batch = _weighted(batch, loss_weights[micro])
            self._seed(step, micro)
            with self._no_sync(last=micro == len(loaded) - 1):
                with self._autocast():
                    result = self.model(batch, weighting, cached[micro])
                self.scaler.scale(result["loss"]).backward()
            sums |= {name: sums.get(name, 0.0) + value for name, value in result["sums"].items()}
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

    def _cached(
        self, loaded: Sequence[ImageBatch], step: int, weighting: Weighting
    ) -> tuple[list[CachedGradients], dict[str, Tensor]]:
        """Return the gradients that each micro-batch needs of the whole step's loss, and the step's sums."""
        task, batches, outputs = self.task, [], []
        assert task.alignment is not None
        with torch.no_grad(), _frozen_buffers(task.backbone):
            for micro, images in enumerate(loaded):
                batch = self.make_batch(images)
                self._seed(step, micro)
                with self._autocast():
                    features, logits = task.features(batch.images)
                outputs.append([output.float() for output in (*features.values(), logits)])
                batches.append(replace(batch, images=batch.images[:0]))
        leaves = [torch.cat(parts).requires_grad_() for parts in zip(*outputs, strict=True)]
        by_name = dict(zip(features, leaves, strict=False))
        with self._autocast():
            result = task.loss(by_name, leaves[-1], _join(batches), weighting, len(loaded))
        inputs = [*leaves, *task.alignment.parameters()]
        # scaled on the way against underflow
        found = torch.autograd.grad(self.scaler.scale(result["loss"]), inputs, materialize_grads=True)
        gradients = [gradient.float() / weighting.grad_scale for gradient in found]
        pieces = [gradient.split([len(batch.targets) for batch in batches]) for gradient in gradients[: len(leaves)]]
        cached = [CachedGradients(piece) for piece in zip(*pieces, strict=True)]
        cached[-1].heads = gradients[len(leaves) :]
        return cached, result["sums"]

    def _autocast(self) -> torch.autocast:
        dtype = _DTYPES.get(self.config.precision)
        return torch.autocast(self.group.device.type, dtype=dtype, enabled=dtype is not None)

    def _no_sync(self, last: bool) -> AbstractContextManager[None]:
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return nullcontext()


def _weighted(batch: TrainBatch, loss_weights: Tensor) -> TrainBatch:
    own, *of_texts = loss_weights
    texts = tuple(replace(text, loss_weight=w) for text, w in zip(batch.texts, of_texts, strict=True))
    return replace(batch, texts=texts, loss_weight=own)


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


@contextmanager
def _frozen_buffers(module: nn.Module) -> Iterator[None]:
    """Restore a module's buffers afterwards: the first forward pass must not move BatchNorm's statistics."""
    saved = [buffer.clone() for buffer in module.buffers()]
    yield
    with torch.no_grad():
        for buffer, value in zip(module.buffers(), saved, strict=True):
            buffer.copy_(value)
