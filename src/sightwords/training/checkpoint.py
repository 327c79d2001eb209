"""What a training needs to continue exactly where it stopped, and the best evaluation so far."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, optim

from sightwords.errors import ArtifactError
from sightwords.files import changes
from sightwords.images.dataset import Split
from sightwords.training.config import TrainConfig
from sightwords.training.task import Task

FORMAT_VERSION = 1  # raised whenever what a checkpoint holds changes

# what may differ between a run and its resumption without changing a single bit of the result
FREE_FIELDS = {"out", "resume", "workers", "checkpoint_every", "images", "train", "val", "embeddings", "device"}
FREE_FIELDS |= {"use", "licenses"}


@dataclass
class Best:
    """The best evaluation so far, with its weights, for early stopping.

    Training stops after `patience` evaluations without a better value; with 0 the last evaluation counts. The weights
    are part of the checkpoint and have no file of their own: a run resumed from before that evaluation, on a machine
    that rounds differently, may never reach it again.
    """

    patience: int
    value: float = -1.0
    epoch: int = 0
    num_since: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def update(self, value: float, epoch: int, task: Task) -> None:
        """Take in an evaluation of a task; if it is the best, copy the weights to the CPU."""
        if not self.patience:
            self.value, self.epoch = value, epoch
        elif value > self.value:
            self.value, self.epoch, self.num_since = value, epoch, 0
            self.weights = task.state_dict()  # with the modules' versions, without which MNASNet loads nothing
            for name, tensor in self.weights.items():
                self.weights[name] = tensor.to("cpu", copy=True)
        else:
            self.num_since += 1

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        return bool(self.patience) and self.num_since >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the patience."""
        return {name: value for name, value in vars(self).items() if name != "patience"}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state."""
        vars(self).update(state)


@dataclass
class TrainState:
    """Everything of a training that changes from step to step.

    Attributes:
        identity: what the run is; it must be the same on resumption.
        ema: moving average of the task, or None.
        step: optimizer steps taken.
        sums: of the current epoch by name, float64 scalars (float32 on mps), see `Task.loss`.
    """

    task: Task
    optimizer: optim.Optimizer
    scaler: torch.amp.GradScaler
    best: Best
    identity: Mapping[str, Any]
    ema: ModelEmaV3 | None = None
    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)

    @property
    def evaluated(self) -> Task:
        """The task whose network is evaluated and kept: the moving average where there is one."""
        task = self.task if self.ema is None else self.ema.module
        assert isinstance(task, Task)
        return task

    def add(self, sums: Mapping[str, Tensor]) -> None:
        """Add the sums of a step."""
        for name, value in sums.items():
            precise = value.double() if value.device.type != "mps" else value
            self.sums[name] = self.sums[name] + precise if name in self.sums else precise

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {**parts, "step": self.step, "sums": self.sums, "identity": dict(self.identity)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state.

        Raises:
            ArtifactError: it belongs to a run with other options or images, or has another format.
        """
        if changed := changes(state["identity"], dict(self.identity)):
            raise ArtifactError(
                f"This run was started with other settings: {changed}. Give the same options, or another --out."
            )
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step, self.sums = state["step"], dict(state["sums"])

    def _parts(self) -> dict[str, Any]:
        names = ("task", "optimizer", "scaler", "best", "ema")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def run_identity(config: TrainConfig, images: Split, class_ids: list[str]) -> dict[str, Any]:
    """Return what must stay the same between a run and its resumption: options, images, labels, vectors by content."""
    values = {name: value for name, value in asdict(config).items() if name not in FREE_FIELDS}
    values["classes"] = str(values["classes"])
    values["cache_gb"] = bool(values["cache_gb"])  # its size changes nothing, but cached images are resized
    labels = images.first_labels().tobytes()
    digest = hashlib.sha256(images.key_bytes.tobytes() + labels + "\n".join(class_ids).encode()).hexdigest()
    vectors = [hashlib.sha256((folder / "meta.json").read_bytes()).hexdigest() for folder in config.embeddings]
    return {**values, "training images": digest, "embedding sets": vectors, "checkpoint format": FORMAT_VERSION}
