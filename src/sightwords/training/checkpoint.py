"""What a training needs to go on exactly where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import optim

from sightwords.errors import ArtifactError
from sightwords.files import changes
from sightwords.training.config import TrainConfig
from sightwords.training.early_stopping import Best
from sightwords.training.task import NUM_SUMS, Task

FORMAT_VERSION = 2  # raised whenever what a checkpoint holds changes

# what may differ between a run and its resumption without changing a single bit of the result
FREE_FIELDS = {"out", "resume", "workers", "checkpoint_every", "images", "train", "val", "embeddings", "device"}
FREE_FIELDS |= {"use", "licenses"}  # what the network is for changes nothing in it


class TrainState:
    """Everything of a training that changes from step to step.

    Args:
        task: network and head.
        optimizer: its optimizer.
        scaler: gradient scaler of fp16.
        ema: moving average of the network, or None.
        ema_heads: moving average of the heads, or None; only searching by words reads it.
        best: the best evaluation so far.
        identity: what the run is; it must be the same on resumption.
    """

    def __init__(
        self,
        task: Task,
        optimizer: optim.Optimizer,
        scaler: torch.amp.GradScaler,
        ema: ModelEmaV3 | None,
        best: Best,
        identity: Mapping[str, Any],
        ema_heads: ModelEmaV3 | None = None,
    ) -> None:
        self.task, self.optimizer, self.scaler, self.ema, self.best = task, optimizer, scaler, ema, best
        self.ema_heads = ema_heads
        self.identity = dict(identity)
        self.step = 0
        self.sums = torch.zeros(NUM_SUMS, dtype=torch.float64)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values."""
        return {
            "format": FORMAT_VERSION,
            "task": self.task.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "ema_heads": self.ema_heads.state_dict() if self.ema_heads else None,
            "best": self.best.state_dict(),
            "step": self.step,
            "sums": self.sums,
            "identity": self.identity,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state.

        Raises:
            ArtifactError: it belongs to a run with other options or other images, or to another version of sightwords.
        """
        if state.get("format") != FORMAT_VERSION:
            raise ArtifactError(
                "This run was begun by another version of sightwords, whose checkpoints hold other things. "
                "Resume it with that version, or begin anew with another --out."
            )
        if changed := changes(state["identity"], self.identity):
            raise ArtifactError(f"This run was started otherwise: {changed}. Give the same options, or another --out.")
        self.task.load_state_dict(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        if self.ema_heads is not None and state.get("ema_heads") is not None:  # older checkpoints have none
            self.ema_heads.load_state_dict(state["ema_heads"])
        self.best.load_state_dict(state["best"])
        self.step, self.sums = state["step"], state["sums"]


def identity(config: TrainConfig, keys: list[str], class_ids: list[str]) -> dict[str, Any]:
    """Return what must stay the same between a run and its resumption: options, images by key, vectors by content."""
    values = {name: value for name, value in asdict(config).items() if name not in FREE_FIELDS}
    values["classes"] = str(values["classes"])
    values["cache_gb"] = bool(values["cache_gb"])  # its size changes nothing, but kept pictures are shrunk
    digest = hashlib.sha256("\n".join([*keys, *class_ids]).encode()).hexdigest()
    vectors = [hashlib.sha256((folder / "meta.json").read_bytes()).hexdigest() for folder in config.embeddings]
    return {**values, "training images": digest, "embedding sets": vectors}
