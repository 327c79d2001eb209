"""Which evaluation was the best, and when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Best:
    """Keeps the best value of the evaluations so far, and its weights; part of what a checkpoint holds.

    The weights are in the checkpoint and in no file of their own, which a run that is resumed before it, on a machine
    that rounds otherwise, could leave behind as those of an evaluation that then never was.

    Args:
        patience: evaluations without a better value after which training stops; 0 never stops, and the last evaluation
            counts as the chosen one.
    """

    def __init__(self, patience: int) -> None:
        self.patience, self.value, self.epoch, self.num_since = patience, -1.0, 0, 0
        self.weights: dict[str, Tensor] = {}
        self.projectors: dict[str, Tensor] = {}

    def update(self, value: float, epoch: int, weights: Mapping[str, Tensor], projectors: Mapping[str, Tensor]) -> None:
        """Take in an evaluation, and copy its weights and projectors to the CPU where it is the best."""
        if not self.patience:
            self.value, self.epoch = value, epoch
        elif value > self.value:
            self.value, self.epoch, self.num_since = value, epoch, 0
            self.weights = _copied(weights)
            self.projectors = _copied(projectors)
        else:
            self.num_since += 1

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        return bool(self.patience) and self.num_since >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return value, epoch, the evaluations since, the weights and the projectors."""
        numbers = {"value": self.value, "epoch": self.epoch, "num_since": self.num_since}
        return {**numbers, "weights": self.weights, "projectors": self.projectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.value, self.epoch, self.num_since = state["value"], state["epoch"], state["num_since"]
        self.weights = dict(state["weights"])
        self.projectors = dict(state.get("projectors", {}))  # older checkpoints have none


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
