"""The alignment of a whole step, though its images go through the network in several micro-batches.

The objective must see all images of a step at once, the network need not. First the features of all micro-batches are
computed without a graph; then the heads and the objective see them together, which gives the gradient of each feature;
last, each micro-batch goes through the network again, and these gradients go back through it. Source: GradCache, arXiv
2101.06983, algorithm 1. The gradient is that of the large batch, for networks without BatchNorm (whose statistics are
those of a micro-batch either way); the memory is that of a micro-batch.

Shapes: B images of a micro-batch, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class CachedAlignment:
    """What one micro-batch needs of the alignment of the whole step.

    Attributes:
        loss: alignment loss of the whole step, detached.
        factor: of the alignment loss in the whole loss.
        classification_factor: of the classification loss in the whole loss.
        features: gradient of the weighted alignment loss by each feature of this micro-batch, float32, (B, F).
        parameters: gradient by each parameter of the heads, in their order; empty except in the last micro-batch.
    """

    loss: Tensor
    factor: Tensor
    classification_factor: Tensor | float
    features: Mapping[str, Tensor]
    parameters: list[Tensor]

    def surrogate(self, features: Mapping[str, Tensor], heads: nn.Module | None) -> Tensor:
        """Return a scalar whose gradient is that of the alignment, by these features and the heads' parameters.

        It goes through the ordinary backward pass, so that DistributedDataParallel averages it as any other loss.

        Args:
            features: of this micro-batch, with their graph.
            heads: the module that holds the parameters.
        """
        assert heads is not None
        total = sum((features[name].float() * gradient).sum() for name, gradient in self.features.items())
        assert isinstance(total, Tensor)
        if not self.parameters:
            return total
        own = zip(heads.parameters(), self.parameters, strict=True)
        return total + sum((parameter * gradient).sum() for parameter, gradient in own)


@contextmanager
def frozen_buffers(module: nn.Module) -> Iterator[None]:
    """Put a module's buffers back afterwards: a forward pass for its features alone must not move BatchNorm's."""
    saved = [buffer.clone() for buffer in module.buffers()]
    yield
    with torch.no_grad():
        for buffer, value in zip(module.buffers(), saved, strict=True):
            buffer.copy_(value)


def gradients(
    loss: Tensor, features: Mapping[str, Tensor], heads: nn.Module, grad_scale: Tensor
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return the gradient of a loss by features and by the heads' parameters, float32.

    Args:
        loss: scalar.
        features: leaves of the graph.
        heads: module whose parameters are meant.
        grad_scale: multiplies the loss on its way, so that half-precision gradients do not underflow.
    """
    parameters = list(heads.parameters())
    found = torch.autograd.grad(loss * grad_scale, [*features.values(), *parameters], materialize_grads=True)
    unscaled = [gradient.float() / grad_scale for gradient in found]
    return dict(zip(features, unscaled, strict=False)), unscaled[len(features) :]
