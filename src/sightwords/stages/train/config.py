"""Options of `sightwords train`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sightwords.data.config import AugmentConfig, ImagesConfig, default_workers
from sightwords.errors import ConfigError


@dataclass
class AlignConfig:
    """How image features are aligned to the text vectors; it matters only with --embeddings."""

    loss: Literal["clip", "contrastive", "cosine"] = "clip"
    """Objective: symmetric contrastive, its image-to-text half, or negative cosine."""
    weight: float = 1.0
    """Factor of the alignment loss beside the classification loss (lambda)."""
    temperature: float = 0.1
    """Temperature of the contrastive objectives (tau)."""
    projector: Literal["linear", "mlp"] = "mlp"
    """Head from the pooled feature to the text's space; it is dropped after training."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ConfigError(f"--align.weight is {self.weight}; it must not be negative.")
        if self.temperature <= 0:
            raise ConfigError(f"--align.temperature is {self.temperature}; it must be above 0.")


@Parameter(name="*")
@dataclass
class TrainConfig(ImagesConfig):
    """Train a plain network, with text as its teacher (--embeddings) or without (the baseline)."""

    _: KW_ONLY
    out: Path
    """Folder of the run."""
    embeddings: Path | None = None
    """Embedding set of the training images' descriptions; without it the baseline is trained."""
    model: str = "resnet50"
    """Network: timm:NAME, torchvision:NAME, or a bare timm name."""
    model_kwargs: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Further arguments of the network's factory: --model-kwargs.drop-path-rate 0.1"""
    weights: str | None = None
    """Weights to start from: a local file, or `pretrained` for the library's own; none is from scratch."""
    image_size: int | None = None
    """Side of the network's input in pixels; none takes the network's default."""
    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 128
    """Images in an optimiser step, over all processes and micro-batches."""
    accumulate: int = 1
    """Micro-batches in an optimiser step; contrastive objectives see one micro-batch of all processes at a time."""
    optimizer: str = "adamw"
    """Optimiser, by timm's name."""
    lr: float = 0.001
    """Highest learning rate."""
    min_lr: float = 1e-5
    """Learning rate at the end of the cosine."""
    warmup_epochs: float = 5.0
    """Epochs over which the learning rate rises linearly from near zero."""
    weight_decay: float = 0.05
    """Weight decay; biases and norms have none."""
    momentum: float = 0.9
    """Momentum of optimisers that have one."""
    clip_grad: float | None = None
    """Largest norm of the gradient; none does not clip."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights, which is then what is evaluated and kept; 0 is off."""
    align: AlignConfig = field(default_factory=AlignConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    seed: int = 0
    """Seed of initial weights, order, augmentation and choice among descriptions."""
    workers: int = field(default_factory=default_workers)
    """Loader processes of each training process; they change the speed and nothing else."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward pass; the weights stay fp32."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""
    channels_last: Annotated[bool, Parameter(negative="")] = False
    """Use the channels-last memory format, faster for convolutional networks."""
    compile: Annotated[bool, Parameter(negative="")] = False
    """Compile the training step with torch.compile."""
    eval_every: int = 1
    """Epochs between two evaluations on the validation images; the last epoch is always evaluated."""
    checkpoint_every: int | None = None
    """Optimiser steps between two checkpoints; none writes one at the end of every epoch."""
    resume: Annotated[bool, Parameter(negative="")] = False
    """Continue the run in --out where it stopped, if there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.out, self.embeddings = Path(self.out), Path(self.embeddings) if self.embeddings else None
        for name in ("epochs", "batch_size", "accumulate", "eval_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1.")
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise ConfigError(f"--checkpoint-every is {self.checkpoint_every}; it must be at least 1 step.")
        for name in ("lr", "min_lr", "warmup_epochs", "weight_decay", "workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must not be negative.")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"--ema is {self.ema}; it must be at least 0 (off) and below 1.")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"--label-smoothing is {self.label_smoothing}; it must be at least 0 and below 1.")
        pieces_mix = (self.augment.mixup > 0 or self.augment.cutmix > 0) and self.batch_size % 2
        if pieces_mix:
            raise ConfigError(f"--batch-size is {self.batch_size}; mixup and cutmix pair images, so it must be even.")
