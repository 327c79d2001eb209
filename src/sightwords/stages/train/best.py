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

    def update(self, value: float, epoch: int, weights: Mapping[str, Tensor]) -> None:
        """Take in an evaluation, and copy its weights to the CPU where it is the best."""
        if not self.patience:
            self.value, self.epoch = value, epoch
        elif value > self.value:
            self.value, self.epoch, self.num_since = value, epoch, 0
            self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
        else:
            self.num_since += 1

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        return bool(self.patience) and self.num_since >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return value, epoch, the evaluations since, and the weights."""
        return {"value": self.value, "epoch": self.epoch, "num_since": self.num_since, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.value, self.epoch, self.num_since = state["value"], state["epoch"], state["num_since"]
        self.weights = dict(state["weights"])
