"""Options of `sightwords train`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from sightwords.align import OBJECTIVES
from sightwords.errors import ConfigError
from sightwords.images.config import AugmentConfig, ImagesConfig, default_workers
from sightwords.licenses import Use, check_use

if TYPE_CHECKING:
    LossName = str
else:
    LossName = Literal[*OBJECTIVES]


@dataclass
class AlignConfig:
    """How image features are aligned to the text vectors; it matters only with --embeddings."""

    loss: LossName = "clip"
    """Objective; docs/objectives.md says what each asks and when to use it."""
    weight: float = 1.0
    """Share of the alignment loss beside the classification loss (lambda), at the start of the schedule."""
    weighting: Literal["fixed", "gradient_balanced"] = "fixed"
    """fixed: classification + weight x alignment. gradient_balanced: (1 - weight) x classification + weight x
    alignment, the latter scaled so that both have gradients of equal length at the pooled feature."""
    schedule: Literal["constant", "linear", "cosine", "jump"] = "constant"
    """How the weight goes from --align.weight to --align.final-weight over the training."""
    final_weight: float = 0.0
    """Weight at the end of the schedule; constant does not read it."""
    jump_at: float = 0.5
    """Part of the training after which `jump` takes the final weight."""
    temperature: float = 0.1
    """Temperature of the objectives that have one (tau)."""
    learn_temperature: Annotated[bool, Parameter(negative="")] = False
    """Learn the temperature, from --align.temperature on."""
    projector: Literal["linear", "mlp"] | None = None
    """Head from the pooled feature to the text's space, dropped after training. [default: what the objective takes]"""
    targets: Literal["raw", "centered", "whitened"] = "raw"
    """Text vectors as they are, less their mean, or less their mean and with directions of equal variance."""
    descriptions: Literal["draw", "mean", "all"] = "draw"
    """Of several descriptions of an image: one drawn in each epoch, their mean, or several as equal positives."""
    max_descriptions: int = 4
    """Descriptions of an image that take part in a step with `all`."""
    clip_score: Annotated[bool, Parameter(negative="")] = False
    """Weigh each description by its CLIP score, where describe --clip-score stored one."""
    encoder_weights: Annotated[list[float], Parameter(consume_multiple=True)] = field(default_factory=list)
    """Factor of each embedding set, in the order of --embeddings. [default: 1 for each]"""
    layers: Annotated[list[str], Parameter(consume_multiple=True)] = field(default_factory=list)
    """Modules of the network whose outputs are aligned too, each with a head of its own: stages.1 stages.2"""
    layer_weight: float = 1.0
    """Factor of the mean of these layers' losses beside the pooled feature's."""
    grad_cache: Annotated[bool, Parameter(negative="")] = False
    """With --accumulate: the objective sees the images of all micro-batches, for one more forward pass of each."""

    def __post_init__(self) -> None:
        limit = 1.0 if self.weighting == "gradient_balanced" else math.inf
        for name in ("weight", "final_weight"):
            if not 0 <= getattr(self, name) <= limit:
                allowed = "between 0 and 1 with gradient_balanced" if limit == 1 else "0 or more"
                raise ConfigError(f"--align.{name.replace('_', '-')} is {getattr(self, name)}; it must be {allowed}.")
        if not self.temperature > 0:
            raise ConfigError(f"--align.temperature is {self.temperature}; it must be above 0.")
        if not 0 <= self.jump_at <= 1:
            raise ConfigError(f"--align.jump-at is {self.jump_at}; it must be a part of the training, 0 to 1.")
        if self.max_descriptions < 1:
            raise ConfigError(f"--align.max-descriptions is {self.max_descriptions}; it must be at least 1.")
        if self.layer_weight < 0 or any(weight < 0 for weight in self.encoder_weights):
            raise ConfigError("--align.layer-weight and --align.encoder-weights must not be negative.")
        if self.loss == "tokens" and self.targets != "raw":
            raise ConfigError("--align.loss tokens reads word counts, so it takes --align.targets raw alone.")


@dataclass
class TrainingOptions(ImagesConfig):
    """What `train` and `compare` share: the images, the text and the recipe."""

    _: KW_ONLY
    embeddings: Annotated[list[Path], Parameter(consume_multiple=True)] = field(default_factory=list)
    """Embedding sets of the training images' descriptions, each with a head of its own; none trains the baseline."""
    pseudo_labels: Annotated[bool, Parameter(negative="")] = False
    """Train on images without a label too: classifiers of the labeled images' descriptions give each one a
    pseudo-label. An image without label and description is left out."""
    label_noise_correction: float | Literal["auto"] = 0.0
    """Correct wrong labels with the descriptions: the share of labels that are wrong, or `auto` to estimate it.
    0 trusts every label."""
    model_kwargs: dict[str, str | int | float | bool] = field(default_factory=dict)
    """Further arguments of the network's factory: --model-kwargs.drop-path-rate 0.1"""
    weights: str | None = None
    """Weights to start from: a local file, or `pretrained` for the library's own; none is from scratch."""
    features: str | None = None
    """Module of the network whose pooled output is aligned. [default: what the classifier reads]"""
    image_size: int | None = None
    """Side of the network's input in pixels; none takes the network's default."""
    crop_pct: float | None = None
    """Share of the resized picture's side that evaluation keeps. [default: the network's own]"""
    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 128
    """Images in an optimizer step, over all processes and micro-batches."""
    accumulate: int = 1
    """Micro-batches in a step; contrastive objectives see one of them at a time without --align.grad-cache."""
    optimizer: str = "adamw"
    """Optimizer, by timm's name."""
    lr: float = 0.001
    """Highest learning rate."""
    min_lr: float = 1e-5
    """Learning rate at the end of the cosine."""
    warmup_epochs: float = 5.0
    """Epochs over which the learning rate rises linearly from --warmup-lr."""
    warmup_lr: float | None = None
    """Learning rate at the start of the warm-up. [default: a thousandth of --lr]"""
    schedule_per: Literal["step", "epoch"] = "step"
    """Whether the learning rate changes with each step or only between epochs."""
    weight_decay: float = 0.05
    """Weight decay; biases and norms have none."""
    momentum: float = 0.9
    """Momentum of optimizers that have one."""
    clip_grad: float | None = None
    """Largest norm of the gradient; none does not clip."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes."""
    layer_decay: float | None = None
    """Factor of the learning rate from each layer to the one before it, for fine-tuning (0.65 to 0.9); none is 1."""
    freeze: Annotated[list[str], Parameter(consume_multiple=True)] = field(default_factory=list)
    """Parts of the network that do not learn: modules, patterns such as `blocks.[0-3]`, or `all` but the classifier."""
    head_warmup_epochs: float = 0.0
    """Epochs at the start in which only classifier and alignment heads learn."""
    class_weights: str = "none"
    """Weight of each class in the classification loss: none, balanced, effective, or a CSV file `id,weight`."""
    balanced: float = 0.0
    """Draw images of rare classes more often: 0 takes each image once an epoch, 1 all classes equally often."""
    holdout: float = 0.0
    """Share of the training images, of each class alike, kept apart for evaluation during training."""
    early_stopping: int = 0
    """Evaluations without a better top-1 after which training ends and the best weights are kept; 0 is off."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights, which is then what is evaluated and kept; 0 is off."""
    align: AlignConfig = field(default_factory=AlignConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    workers: int = field(default_factory=default_workers)
    """Loader processes of each training process; they change the speed and nothing else."""
    cache_gb: float = 0.0
    """Keep decoded pictures, shrunk to little more than the network's input, on disk for further epochs and runs: at
    most this many gigabytes; 0 keeps none and decodes each anew."""
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
    """Optimizer steps between two checkpoints; none writes one at the end of every epoch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.embeddings = _paths(self.embeddings)
        self.model_kwargs = _arguments(self.model_kwargs)
        self._check_align()
        if self.label_noise_correction != "auto" and not 0 <= float(self.label_noise_correction) < 1:
            raise ConfigError(
                f"--label-noise-correction is {self.label_noise_correction}; it must be auto, or a number from 0 to 1."
            )
        for name in ("epochs", "batch_size", "accumulate", "eval_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1.")
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise ConfigError(f"--checkpoint-every is {self.checkpoint_every}; it must be at least 1 step.")
        for name in (
            "lr",
            "min_lr",
            "warmup_epochs",
            "weight_decay",
            "workers",
            "head_warmup_epochs",
            "early_stopping",
            "cache_gb",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must not be negative.")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ConfigError(f"--layer-decay is {self.layer_decay}; it must be above 0 and at most 1.")
        if self.crop_pct is not None and not 0 < self.crop_pct <= 1:
            raise ConfigError(f"--crop-pct is {self.crop_pct}; it must be above 0 and at most 1.")
        if not 0 <= self.balanced <= 1:
            raise ConfigError(f"--balanced is {self.balanced}; it must be from 0 (off) to 1.")
        if not 0 <= self.holdout < 1:
            raise ConfigError(f"--holdout is {self.holdout}; it must be a share of the training images, below 1.")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"--ema is {self.ema}; it must be at least 0 (off) and below 1.")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"--label-smoothing is {self.label_smoothing}; it must be at least 0 and below 1.")
        pieces_mix = (self.augment.mixup > 0 or self.augment.cutmix > 0) and self.batch_size % 2
        if pieces_mix:
            raise ConfigError(f"--batch-size is {self.batch_size}; mixup and cutmix pair images, so it must be even.")

    def _check_align(self) -> None:
        weights = self.align.encoder_weights
        if weights and len(weights) != len(self.embeddings):
            raise ConfigError(
                f"--align.encoder-weights has {len(weights)} numbers for {len(self.embeddings)} embedding sets; "
                "give one for each, or none."
            )
        if self.compile and self.align.weighting == "gradient_balanced" and self.embeddings:
            raise ConfigError(
                "--compile cannot be used with --align.weighting gradient_balanced. Leave one of them out."
            )


@Parameter(name="*")
@dataclass
class TrainConfig(TrainingOptions):
    """Train a plain network, with text as its teacher (--embeddings) or without (the baseline)."""

    _: KW_ONLY
    out: Path
    """Folder of the run."""
    model: str = "resnet50"
    """Network: timm:NAME, torchvision:NAME, or a bare timm name."""
    train_fraction: float = 1.0
    """Share of the training images that is used, of each class alike: how much would fewer images cost?"""
    long_tail: float = 1.0
    """Thin the classes out until the first has this many times the images of the last; 1 leaves them."""
    label_noise: float = 0.0
    """Share of the training images that get another class's label: how much do wrong labels cost?"""
    label_fraction: float = 1.0
    """Share of the training images that keep their label, of each class alike, while descriptions tell the classes of
    the others: how much would fewer labels cost?"""
    seed: int = 0
    """Seed of initial weights, order, augmentation and choice among descriptions."""
    use: Use | None = None
    """What the network is for: `commercial` warns where a license of describer, encoder, images or weights forbids
    that, sets conditions or is not known."""
    licenses: Path | None = None
    """Table of licenses of your own, YAML, beside the one of the package."""
    resume: Annotated[bool, Parameter(negative="")] = False
    """Continue the run in --out where it stopped, if there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.out = Path(self.out)
        self.licenses = Path(self.licenses) if self.licenses else None
        check_use(self.use)
        if not 0 < self.train_fraction <= 1:
            raise ConfigError(f"--train-fraction is {self.train_fraction}; it must be above 0 and at most 1.")
        if not self.long_tail >= 1:
            raise ConfigError(f"--long-tail is {self.long_tail}; it must be at least 1.")
        if not 0 <= self.label_noise <= 1:
            raise ConfigError(f"--label-noise is {self.label_noise}; it must be between 0 and 1.")
        if not 0 < self.label_fraction <= 1:
            raise ConfigError(f"--label-fraction is {self.label_fraction}; it must be above 0 and at most 1.")


def _arguments(given: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
    """Return arguments of a function: the command line spells names with hyphens and knows texts alone."""
    return {name.replace("-", "_"): _value(value) if isinstance(value, str) else value for name, value in given.items()}


def _value(text: str) -> str | int | float | bool:
    """Return what a text of the command line stands for, as YAML reads it; `1e-5`, which YAML takes for a text, too."""
    import yaml

    value: str | int | float | bool = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _paths(given: object) -> list[Path]:
    """Return paths, also where a single one came, as Python users and YAML files may give it."""
    if given is None:
        return []
    if isinstance(given, str | Path):
        return [Path(given)]
    assert isinstance(given, Iterable)
    return [Path(one) for one in given]
