"""`sightwords train`: a plain network from images and, beside their labels, what was written about them."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3

from sightwords.errors import ConfigError, DataError
from sightwords.images.config import SUBSET_OPTIONS
from sightwords.images.dataset import Dataset, open_dataset
from sightwords.images.loader import TrainOrder
from sightwords.images.seeds import torch_seeded
from sightwords.images.subset import hold_out, make_subset
from sightwords.licenses import warn_of_use
from sightwords.models import Backbone, build_backbone
from sightwords.models.run_folder import NetworkInfo, RunFolder
from sightwords.progress import duration, stopwatch
from sightwords.text.embedding_set import usable
from sightwords.training.alignment import Alignment, build_alignment
from sightwords.training.batches import BatchMaker, TextJoin
from sightwords.training.card import facts_of, write_card
from sightwords.training.checkpoint import TrainState, identity
from sightwords.training.config import TrainConfig
from sightwords.training.data import draw_probabilities, evaluation_loader, training_batches
from sightwords.training.distributed import Processes, processes
from sightwords.training.early_stopping import Best
from sightwords.training.loop import Loop
from sightwords.training.optim import build_optimizer, build_schedule, check_reach, freeze
from sightwords.training.projector import keep_projectors
from sightwords.training.pseudo_labels import LabelShares, checked_labels, warnings_of
from sightwords.training.task import Task, class_weights


def restore_or_start(
    state: TrainState, folder: RunFolder, config: TrainConfig, dataset: Dataset, group: Processes
) -> int:
    """Load the newest checkpoint, or start the run's folder; return the step to go on from."""
    saved = folder.load_checkpoint() if config.resume else None
    if saved is not None:
        state.load_state_dict(saved)
    if not group.first:
        state.sums.zero_()  # what was counted before lies with the first process
    else:
        if saved is None:
            folder.start(plain_options(config), _network_info(config, state.task.backbone, dataset))
        folder.truncate_metrics(state.step)
    group.wait()
    state.sums = state.sums.to(group.device)
    return state.step


def plain_options(config: TrainConfig) -> dict[str, Any]:
    """Return the options that are set, with paths as text, so that the YAML can be used as `--config` again."""
    values = {name: value for name, value in asdict(config).items() if value is not None and name != "resume"}
    values["embeddings"] = [str(folder) for folder in config.embeddings]
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def _network_info(config: TrainConfig, backbone: Backbone, dataset: Dataset) -> NetworkInfo:
    spec = backbone.input_spec
    return NetworkInfo(
        backbone.identifier,
        dict(config.model_kwargs),
        backbone.kwargs,
        len(dataset.class_ids),
        dataset.class_ids,
        dataset.class_names,
        dataset.multi_label,
        spec.image_size,
        spec.interpolation,
        config.crop_pct or spec.crop_pct,
        spec.mean,
        spec.std,
    )


@dataclass(frozen=True)
class TrainResult:
    """What a training left.

    Attributes:
        out: the run's folder.
        images: where the images are, as a user named it.
        metrics: last line of the metrics.
        num_described: training images with a description (in every embedding set at least); None for the baseline.
        num_images: training images.
        num_shared: validation images whose bytes are among the training images too.
        unreadable: names and reasons of images that were left out.
        is_chosen_on_val: whether the weights were chosen by the validation images.
        seconds: duration of this call.
        warnings: what speaks against the use that the user declared, or against checking labels.
        wrong_labels: share of wrong labels that the descriptions found; None where they did not check.
        num_unlabeled: training images without a label, whose class the descriptions told.
        num_left_out: training images without label and description.
    """

    out: Path
    images: str
    metrics: dict[str, float]
    num_described: int | None
    num_images: int
    num_shared: int
    unreadable: list[str]
    is_chosen_on_val: bool
    seconds: float
    warnings: list[str] = field(default_factory=list)
    wrong_labels: float | None = None
    num_unlabeled: int = 0
    num_left_out: int = 0

    def summary(self) -> str:
        """Return what was done, in a few lines."""
        lines = [f"Trained in {duration(self.seconds)}: validation top-1 {self.metrics['val_top1']:.2%}."]
        if "chosen_epoch" in self.metrics:
            lines.append(f"The weights are those of epoch {self.metrics['chosen_epoch']:.0f}.")
        if self.is_chosen_on_val:
            lines.append("They were chosen by the validation images, so their accuracy is too high. See --holdout.")
        if self.num_described is not None and self.num_described < self.num_images:
            without = self.num_images - self.num_described
            lines.append(f"{without} of {self.num_images} images have no description: only their labels were used.")
        if self.wrong_labels:
            lines.append(
                f"About {self.wrong_labels:.1%} of the labels are wrong: the descriptions counted beside them."
            )
        elif self.wrong_labels is not None:
            lines.append("The descriptions give no evidence of wrong labels: all counted as they are.")
        if self.num_unlabeled:
            told = f"{self.num_unlabeled} of {self.num_images} training images have no label"
            lines.append(f"{told}: their descriptions told their classes.")
        if self.num_left_out:
            lines.append(f"{self.num_left_out} images without a label were left out: no text tells their class.")
        if self.num_shared:
            lines.append(f"{self.num_shared} validation images are training images too: the accuracy is too high.")
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images could not be read and were left out, such as")
            lines += [f"  {text}" for text in self.unreadable[:5]]
        lines += self.warnings
        return "\n".join([*lines, f"Wrote {self.out} (model.safetensors is the plain network)."])

    @property
    def next_command(self) -> str:
        """What to run next."""
        return f"sightwords evaluate {shlex.quote(str(self.out))} {self.images}"


def train(config: TrainConfig) -> TrainResult:
    """Train a network.

    Raises:
        ConfigError: an option does not fit, or --out holds a run and --resume was not given.
        DataError: the images cannot be used.
        ArtifactError: the embedding set does not fit the images, or the run cannot be resumed.
    """
    folder = RunFolder(config.out)
    if folder.exists() and not config.resume:
        raise ConfigError(f"{config.out} holds a run already. Continue it with --resume, or name another --out.")
    with stopwatch() as seconds, processes(config.device) as group:
        with group.first_goes_ahead():
            dataset = open_dataset(config, show=group.first)
        _check(dataset, config)
        hardened = _hardened(dataset, config)
        dataset = _usable(hardened, config)
        num_left_out = len(hardened.split("train")) - len(dataset.split("train"))
        dataset = _with_holdout(dataset, config)
        loop, text, first_step = prepare(config, dataset, folder, group)
        backbone = loop.state.task.backbone
        facts = facts_of(config, dataset, [(join.set, join.num_described) for join in text], backbone)
        warnings = warn_of_use(facts.parts(backbone.identifier), config.use, config.licenses, group.first)
        if group.first:
            folder.write_facts(facts)
        labels = _checked(config, dataset, folder, text, group)
        if labels is not None:
            warnings += warnings_of(text[0].set)
        loop.fit(training_batches(config, dataset, loop, text, first_step, group, labels))
        loop.choose(evaluation_loader(config, dataset, "val", loop.state.task, group))
        if group.first:
            keep_projectors(folder, config, loop, [join.set for join in text])
            folder.save_weights(loop.evaluated().network.state_dict())
            write_card(folder, facts, config)
        group.wait()
        metrics = folder.metrics()[-1]
    problems = [f"{problem.name}: {problem.reason}" for problem in dataset.problems]
    described = min(join.num_described for join in text) if text else None
    unreadable = problems + sorted(loop.unreadable)
    num_images = len(dataset.split("train"))
    named = shlex.quote(config.images) if config.images else f"--train {config.train} --val {config.val}"
    return TrainResult(
        config.out,
        named,
        metrics,
        described,
        num_images,
        dataset.num_shared,
        unreadable,
        bool(config.early_stopping) and not config.holdout,
        seconds[0],
        warnings,
        labels.wrong if labels is not None and config.label_noise_correction else None,
        int((dataset.split("train").first_labels() < 0).sum()) if not dataset.multi_label else 0,
        num_left_out,
    )


def _checked(
    config: TrainConfig, dataset: Dataset, folder: RunFolder, text: list[TextJoin], group: Processes
) -> LabelShares | None:
    """Return what to train towards where the descriptions check the labels or tell missing ones, else None."""
    missing = not dataset.multi_label and dataset.split("train").first_labels().min() < 0
    if not (text and (config.label_noise_correction or missing)):
        return None
    share = None if config.label_noise_correction == "auto" else float(config.label_noise_correction)
    return checked_labels(folder, dataset.split("train"), len(dataset.class_ids), text[0].set, share, group)


def _hardened(dataset: Dataset, config: TrainConfig) -> Dataset:
    """Return the dataset with the training images that the run asks for: fewer, a long tail, wrong or few labels."""
    options = {name: getattr(config, name) for name in SUBSET_OPTIONS}
    wanted = make_subset(dataset.split("train"), len(dataset.class_ids), **options)
    return replace(dataset, splits={**dataset.splits, "train": wanted})


def _usable(dataset: Dataset, config: TrainConfig) -> Dataset:
    """Return the dataset without the training images of which nothing tells the class."""
    images = dataset.split("train")
    if dataset.multi_label or not images.multi_label:
        return dataset
    kept = np.flatnonzero(usable(images.first_labels(), images.keys(), config.embeddings))
    return replace(dataset, splits={**dataset.splits, "train": images.subset(kept.tolist())})


def _with_holdout(dataset: Dataset, config: TrainConfig) -> Dataset:
    """Return the dataset with a split `holdout` that is taken from the training images, where it is wanted."""
    if not config.holdout:
        return dataset
    kept, held = hold_out(dataset.split("train"), config.holdout, config.seed, dataset.multi_label)
    return replace(dataset, splits={**dataset.splits, "train": kept, "holdout": held})


def _check(dataset: Dataset, config: TrainConfig) -> None:
    if dataset.multi_label and config.embeddings and config.label_noise_correction:
        raise ConfigError("--label-noise-correction needs one label an image; these images have several. Leave it out.")
    for name in ("train", "val"):
        missing = int((dataset.split(name).first_labels() < 0).sum())
        if not missing or dataset.multi_label:  # in multi-label data an image may show nothing of what is looked for
            continue
        if name == "val" or not config.pseudo_labels:
            also = ", or train on them with --pseudo-labels" if name == "train" else ""
            raise DataError(
                f"{missing} {name} images have no label. Put them into class folders, or give a table{also}."
            )
    if len(dataset.class_ids) < 2:
        raise DataError(f"Training needs at least two classes; found {dataset.class_ids}.")


def prepare(
    config: TrainConfig, dataset: Dataset, folder: RunFolder, group: Processes
) -> tuple[Loop, list[TextJoin], int]:
    """Build everything, and go back to the last checkpoint where there is one.

    Args:
        config: the options.
        dataset: the images, as they are trained on.
        folder: the run.
        group: the processes.

    Returns:
        The loop; the text of each embedding set, none for a baseline; the optimizer step to go on from.

    Raises:
        ConfigError: an option does not fit network or images.
        ArtifactError: an embedding set describes none of the images, or the run cannot be resumed.
    """
    images = dataset.split("train")
    order = TrainOrder(
        len(images),
        config.batch_size,
        config.seed,
        group.rank,
        group.world_size,
        config.accumulate,
        draw_probabilities(config, dataset),
        config.augment.repeats,
    )
    if order.piece % 2 and (config.augment.mixup or config.augment.cutmix):
        raise ConfigError(f"{order.piece} images in a micro-batch; mixup and cutmix pair images, so it must be even.")
    text = [TextJoin(folder, images, config.seed, config.align) for folder in config.embeddings]
    task = _task(config, dataset, text, order.piece).to(group.device)
    if config.channels_last:
        task.backbone.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(task, config)
    ema = ModelEmaV3(task.backbone, decay=config.ema) if config.ema else None
    ema_heads = ModelEmaV3(task.alignment, decay=config.ema) if config.ema and task.alignment is not None else None
    scaler = torch.amp.GradScaler(group.device.type, enabled=config.precision == "fp16")
    run_identity = identity(config, images.keys(), dataset.class_ids)
    state = TrainState(task, optimizer, scaler, ema, Best(config.early_stopping), run_identity, ema_heads)
    first_step = restore_or_start(state, folder, config, dataset, group)
    schedule = build_schedule(optimizer, config, order.steps_per_epoch)
    make_batch = BatchMaker(task.backbone, config.augment, config.seed, group.device, config.channels_last)
    evaluation = evaluation_loader(config, dataset, "holdout" if config.holdout else "val", task, group)
    return Loop(config, state, schedule, order, make_batch, evaluation, folder, group), text, first_step


def _task(config: TrainConfig, dataset: Dataset, text: list[TextJoin], capacity: int) -> Task:
    backbone = _backbone(config, len(dataset.class_ids))
    freeze(backbone, config.freeze)
    if text and config.freeze:
        check_reach(backbone)
    alignment = _alignment(config, backbone, text, dataset) if text else None
    weights = class_weights(config.class_weights, dataset.split("train"), dataset.class_ids)
    weight_K = None if weights is None else torch.from_numpy(weights)
    return Task(backbone, alignment, config.label_smoothing, dataset.multi_label, capacity, weight_K)


def _backbone(config: TrainConfig, num_classes: int) -> Backbone:
    with torch_seeded("backbone", config.seed):
        backbone = build_backbone(config.model, num_classes, config.image_size, config.weights, **config.model_kwargs)
    return backbone.take(config.features, config.align.layers if config.embeddings else ())


def _alignment(config: TrainConfig, backbone: Backbone, text: list[TextJoin], dataset: Dataset) -> Alignment:
    with torch_seeded("head", config.seed):
        return build_alignment(config.align, backbone, text, dataset.split("train"), len(dataset.class_ids))
