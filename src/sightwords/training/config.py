"""Options of `sightwords train`, in the groups of its `--help`."""

# no `from __future__ import annotations`: cyclopts would look up the names of inherited options in the module of the
# class that inherits them
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from sightwords.align.registry import OBJECTIVES
from sightwords.errors import ConfigError
from sightwords.images.config import (
    ADVANCED,
    FLAG,
    LABELS,
    NETWORK,
    RECIPE,
    RUN,
    TEXT,
    AugmentConfig,
    ImagesConfig,
    check_choices,
    check_range,
    default_workers,
    set_paths,
)
from sightwords.licenses import Use, check_use

if TYPE_CHECKING:
    LossName = str
else:
    LossName = Literal[*OBJECTIVES]

ClassWeights = Literal["none", "balanced", "effective"]
LIST = Parameter(consume_multiple=True, negative="")


@dataclass
class AlignConfig:
    """How image features are aligned to the text vectors; used only with --embeddings."""

    loss: Annotated[LossName, TEXT] = "clip"
    """Objective; docs/objectives.md says what each one does and when to use it."""
    weight: Annotated[float, TEXT] = 0.2
    """Weight of the alignment loss (lambda), at the start of the schedule."""
    weighting: Annotated[Literal["fixed", "gradient_balanced"], TEXT] = "fixed"
    """fixed: classification + weight x alignment. gradient_balanced: (1 - weight) x classification + weight x
    alignment, scaled so that both gradients have equal length at the pooled feature."""
    schedule: Literal["constant", "linear", "cosine", "jump"] = "constant"
    """How the weight goes from --align.weight to --align.final-weight during training."""
    final_weight: float = 0.0
    """Weight at the end of the schedule; unused with constant."""
    jump_at: float = 0.5
    """With --align.schedule jump: fraction of the training after which the final weight applies."""
    temperature: Annotated[float, TEXT] = 0.1
    """Temperature (tau) of the objectives that have one."""
    learn_temperature: Annotated[bool, FLAG] = False
    """Learn the temperature, starting from --align.temperature."""
    projector: Literal["linear", "mlp"] | None = None
    """Head from the pooled feature to the text space, dropped after training. [default: depends on the objective]"""
    targets: Annotated[Literal["raw", "centered", "whitened"], TEXT] = "raw"
    """Text vectors as they are, minus their mean, or whitened (minus their mean, equal variance in all directions)."""
    descriptions: Annotated[Literal["draw", "mean", "all"], TEXT] = "draw"
    """If an image has several descriptions: draw one per epoch, take their mean, or use several as equal positives."""
    max_descriptions: int = 4
    """With --align.descriptions all: most descriptions of an image in a step."""
    encoder_weights: Annotated[list[float], LIST] = field(default_factory=list)
    """Weight of each embedding set, in the order of --embeddings. [default: 1 for each]"""
    layers: Annotated[list[str], LIST] = field(default_factory=list)
    """Modules of the network whose outputs are aligned as well, each with its own head: stages.1 stages.2"""
    layer_weight: float = 1.0
    """Weight of the mean loss of these layers."""
    grad_cache: Annotated[bool, FLAG] = False
    """With --accumulate and --align.weighting fixed: contrast the images of all micro-batches, for one more forward
    pass of each."""

    def __post_init__(self) -> None:
        most = 1.0 if self.weighting == "gradient_balanced" else None
        check_range(self, "weight final_weight", "--align.", least=0, most=most)
        check_range(self, "temperature", "--align.", above=0)
        check_range(self, "jump_at", "--align.", least=0, most=1)
        check_range(self, "max_descriptions", "--align.", least=1)
        check_range(self, "layer_weight", "--align.", least=0)
        if self.grad_cache and self.weighting == "gradient_balanced":
            raise ConfigError("--align.grad-cache works only with --align.weighting fixed. Leave one of them out.")
        if any(weight < 0 for weight in self.encoder_weights):
            raise ConfigError("--align.encoder-weights must not be negative.")
        if self.loss == "tokens" and self.targets != "raw":
            raise ConfigError("--align.loss tokens reads word counts, so it works only with --align.targets raw.")


@dataclass
class TrainingOptions(ImagesConfig):
    """What `train` and `compare` share: the images, the text and the recipe."""

    _: KW_ONLY
    embeddings: Annotated[list[Path], TEXT, LIST] = field(default_factory=list)
    """Embedding sets of the training images' descriptions, each with its own head; without one, trains the baseline."""
    align: Annotated[AlignConfig, ADVANCED] = field(default_factory=AlignConfig)
    labels: Annotated[str | None, LABELS] = None
    """Table of `sightwords label` that takes the place of the images' labels; or `none`, to align the features to the
    text alone and fine-tune the network later."""
    label_noise_correction: Annotated[float | Literal["auto"], LABELS] = 0.0
    """Correct wrong labels with the descriptions: the rate of label noise, or `auto` to estimate it.
    0 trusts every label."""
    pseudo_labels: Annotated[bool, LABELS, FLAG] = False
    """Train on images without a label too: classifiers of the labeled images' descriptions give each one a
    pseudo-label. An image without label and description is left out."""
    class_weights: Annotated[ClassWeights, ADVANCED] = "none"
    """Weight of each class in the classification loss: equal; balanced by the inverse of its number of images; or
    less strongly, by the effective number."""
    balanced: Annotated[float, ADVANCED] = 0.0
    """Draw images of rare classes more often: 0 draws each image once per epoch, 1 all classes equally often."""
    model_kwargs: Annotated[dict[str, str | int | float | bool], ADVANCED] = field(default_factory=dict)
    """More arguments for the network's factory: --model-kwargs.drop-path-rate 0.1"""
    weights: Annotated[str | None, NETWORK] = None
    """Initial weights: a file, a run's folder, or `pretrained` for the library's own. [default: random]"""
    image_size: Annotated[int | None, NETWORK] = None
    """Side of the network's input in pixels. [default: the network's own]"""
    freeze: Annotated[list[str], NETWORK, LIST] = field(default_factory=list)
    """Parts of the network that are not trained: modules, patterns such as `blocks.[0-3]`, or `all` but the
    classifier."""
    features: Annotated[str | None, ADVANCED] = None
    """Module of the network whose pooled output is aligned. [default: the classifier's input]"""
    crop_pct: Annotated[float | None, ADVANCED] = None
    """Center crop for evaluation, as a fraction of the resized image's side. [default: the network's own]"""
    epochs: Annotated[int, RECIPE] = 100
    """Passes over the training images."""
    batch_size: Annotated[int, RECIPE] = 128
    """Images per optimizer step, over all processes and micro-batches."""
    accumulate: Annotated[int, ADVANCED] = 1
    """Micro-batches per step; contrastive objectives see one at a time unless --align.grad-cache is given."""
    optimizer: Annotated[str, RECIPE] = "adamw"
    """Optimizer, by timm's name."""
    lr: Annotated[float, RECIPE] = 0.001
    """Peak learning rate."""
    min_lr: Annotated[float, ADVANCED] = 1e-5
    """Learning rate at the end of the cosine."""
    warmup_epochs: Annotated[float, RECIPE] = 5.0
    """Epochs of linear warm-up."""
    warmup_lr: Annotated[float | None, ADVANCED] = None
    """Learning rate at the start of the warm-up. [default: a thousandth of --lr]"""
    schedule_per: Annotated[Literal["step", "epoch"], ADVANCED] = "step"
    """Whether the learning rate changes at each step or only between epochs."""
    weight_decay: Annotated[float, RECIPE] = 0.05
    """Weight decay; biases and norms have none."""
    momentum: Annotated[float, ADVANCED] = 0.9
    """Momentum of optimizers that have one."""
    clip_grad: Annotated[float | None, ADVANCED] = None
    """Clip the gradient to this norm. [default: off]"""
    label_smoothing: Annotated[float, RECIPE] = 0.1
    """Label smoothing."""
    layer_decay: Annotated[float | None, ADVANCED] = None
    """Factor of the learning rate from each layer to the one before it, for fine-tuning (0.65 to 0.9). [default: 1]"""
    head_warmup_epochs: Annotated[float, ADVANCED] = 0.0
    """First epochs, in which only the classifier and the alignment heads learn."""
    holdout: Annotated[float, RECIPE] = 0.0
    """Fraction of each class's training images held out, to evaluate on during training."""
    early_stopping: Annotated[int, RECIPE] = 0
    """Stop after this many evaluations without a better top-1 and keep the best weights; 0 is off."""
    ema: Annotated[float, RECIPE] = 0.0
    """Decay of the exponential moving average of the weights, which is then evaluated and kept; 0 is off."""
    augment: Annotated[AugmentConfig, ADVANCED] = field(default_factory=AugmentConfig)
    workers: Annotated[int, RUN] = field(default_factory=default_workers)
    """Loader processes of each training process; they affect nothing but speed."""
    cache_gb: Annotated[float, RUN] = 0.0
    """Image cache: keep decoded images, resized to little more than the network's input, on disk for later epochs and
    runs, up to this many gigabytes; 0 is off."""
    precision: Annotated[Literal["fp32", "bf16", "fp16"], RUN] = "fp32"
    """Precision of the forward pass; the weights stay fp32."""
    device: Annotated[str, RUN] = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""
    channels_last: Annotated[bool, ADVANCED, FLAG] = False
    """Use the channels-last memory format, faster for convolutional networks."""
    compile: Annotated[bool, RUN, FLAG] = False
    """Compile the training step with torch.compile."""
    eval_every: Annotated[int, ADVANCED] = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    checkpoint_every: Annotated[int | None, ADVANCED] = None
    """Optimizer steps between checkpoints. [default: one per epoch]"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.embeddings = _paths(self.embeddings)
        self.model_kwargs = _arguments(self.model_kwargs)
        check_choices(self)
        check_range(self, "epochs batch_size accumulate eval_every checkpoint_every", least=1)
        check_range(self, "lr min_lr warmup_epochs weight_decay workers head_warmup_epochs early_stopping", least=0)
        check_range(self, "cache_gb", least=0)
        check_range(self, "layer_decay crop_pct", above=0, most=1)
        check_range(self, "balanced", least=0, most=1)
        check_range(self, "holdout ema label_smoothing", least=0, below=1)
        if self.label_noise_correction != "auto":
            check_range(self, "label_noise_correction", least=0, below=1)
        self._check_labels()
        if (self.augment.mixup or self.augment.cutmix) and self.batch_size % 2:
            raise ConfigError(f"--batch-size is {self.batch_size}; mixup and cutmix pair images, so it must be even.")
        num_weights = len(self.align.encoder_weights)
        if num_weights and num_weights != len(self.embeddings):
            raise ConfigError(
                f"--align.encoder-weights has {num_weights} numbers for {len(self.embeddings)} embedding sets; give "
                "one for each, or none."
            )
        if self.compile and self.align.weighting == "gradient_balanced" and self.embeddings:
            raise ConfigError(
                "--compile does not work with --align.weighting gradient_balanced. Leave one of them out."
            )

    @property
    def has_labels(self) -> bool:
        """Whether there is a classification to learn and to evaluate."""
        return self.labels != "none"

    def _check_labels(self) -> None:
        if self.labels is not None and (self.pseudo_labels or self.label_noise_correction):
            other = "--pseudo-labels" if self.pseudo_labels else "--label-noise-correction"
            raise ConfigError(f"--labels {self.labels} says what the labels are. Leave {other} out.")
        if not self.has_labels:
            if not self.embeddings:
                raise ConfigError("--labels none learns from text alone. Name an embedding set: --embeddings E")
            if self.align.weighting != "fixed":
                raise ConfigError("--labels none has no classification loss to balance. Use --align.weighting fixed.")
            if self.early_stopping or self.holdout:
                raise ConfigError("--labels none evaluates nothing. Leave --holdout and --early-stopping out.")


@Parameter(name="*")
@dataclass
class TrainConfig(TrainingOptions):
    """Train a plain network, taught by text (--embeddings) or not (the baseline)."""

    _: KW_ONLY
    out: Annotated[Path, RUN]
    """Folder of the run."""
    model: Annotated[str, NETWORK] = "resnet50"
    """Network: timm:NAME, torchvision:NAME, or a bare timm name."""
    train_fraction: Annotated[float, ADVANCED] = 1.0
    """Use only this fraction of each class's training images, to see what fewer images would cost."""
    long_tail: Annotated[float, ADVANCED] = 1.0
    """Thin out the classes until the first has this many times the images of the last; 1 is off."""
    label_noise: Annotated[float, ADVANCED] = 0.0
    """Replace this fraction of the training labels by another class's, to see what wrong labels would cost."""
    label_fraction: Annotated[float, ADVANCED] = 1.0
    """Keep the labels of only this fraction of each class, to see what fewer labels would cost; the other images get
    pseudo-labels."""
    seed: Annotated[int, RUN] = 0
    """Seed of initial weights, order, augmentation and the choice among descriptions."""
    use: Annotated[Use | None, ADVANCED] = None
    """What the network is for: `commercial` warns if a license of describer, encoder, images or weights forbids that,
    sets conditions or is unknown."""
    licenses: Annotated[Path | None, ADVANCED] = None
    """Your own table of licenses, YAML, in addition to the package's."""
    resume: Annotated[bool, RUN, FLAG] = False
    """Continue the run in --out where it stopped, if there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        set_paths(self, "out licenses")
        check_use(self.use)
        check_range(self, "train_fraction label_fraction", above=0, most=1)
        check_range(self, "long_tail", least=1)
        check_range(self, "label_noise", least=0, most=1)


def _arguments(given: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
    """Return arguments of a function: the command line spells names with hyphens and knows only strings."""
    return {name.replace("-", "_"): _value(value) if isinstance(value, str) else value for name, value in given.items()}


def _value(text: str) -> str | int | float | bool:
    import yaml

    value: str | int | float | bool = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value  # YAML takes `1e-5` for a string
    except ValueError:
        return value


def _paths(given: str | Path | Iterable[str | Path] | None) -> list[Path]:
    """Return paths, also from a single one, as Python users and YAML files may give it."""
    return [Path(one) for one in ([given] if isinstance(given, str | Path) else given or [])]
