"""Which evaluation was the best, and when to stop."""

from __future__ import annotations

from typing import Any


class Best:
    """Keeps the best value of the evaluations so far; part of what a checkpoint holds.

    Args:
        patience: evaluations without a better value after which training stops; 0 never stops, and the last evaluation
            counts as the chosen one.
    """

    def __init__(self, patience: int) -> None:
        self.patience, self.value, self.epoch, self.num_since = patience, -1.0, 0, 0

    def update(self, value: float, epoch: int) -> bool:
        """Take in an evaluation; return whether its weights are those to keep."""
        if not self.patience:
            self.value, self.epoch = value, epoch
            return False
        if value > self.value:
            self.value, self.epoch, self.num_since = value, epoch, 0
            return True
        self.num_since += 1
        return False

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        return bool(self.patience) and self.num_since >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return value, epoch and the evaluations since."""
        return {"value": self.value, "epoch": self.epoch, "num_since": self.num_since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.value, self.epoch, self.num_since = state["value"], state["epoch"], state["num_since"]
