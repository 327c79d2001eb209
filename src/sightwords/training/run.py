"""`sightwords train`: a plain network from images and, beside their labels, what was written about them."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3

from sightwords.align import OBJECTIVES, AlignmentHead
from sightwords.errors import ConfigError
from sightwords.files import write_text
from sightwords.images.loader import TrainOrder
from sightwords.images.seeds import torch_seeded
from sightwords.labels.noise import prompt_warnings
from sightwords.labels.pseudo_labels import FILE, LabelTargets, infer_labels, known_names
from sightwords.licenses import warn_of_use
from sightwords.models import Backbone, build_backbone, pretrained_source
from sightwords.models.card import RunFacts, TextFacts, make_card, shown_name
from sightwords.models.run_folder import NetworkInfo, ProjectorInfo, RunFolder, TextSpace, save_projectors
from sightwords.progress import duration, stopwatch
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.training.checkpoint import Best, TrainState, run_identity
from sightwords.training.config import TrainConfig
from sightwords.training.data import TrainingData, draw_probabilities, evaluation_loader, load_data, training_batches
from sightwords.training.distributed import Processes, process_group
from sightwords.training.loop import Loop
from sightwords.training.mixing import BatchMaker
from sightwords.training.optim import build_optimizer, check_trainable, freeze
from sightwords.training.task import Task, build_alignment, class_weights, projector_tensors


@dataclass(frozen=True)
class TrainResult:
    """What a training left.

    Attributes:
        config: its options.
        data: its images and texts.
        metrics: last line of the metrics.
        label_noise: rate of label noise, given or estimated; None without `--label-noise-correction`.
        unreadable: names of images that were left out, with reasons.
        seconds: duration of this call.
        warnings: what speaks against the use that the user declared, or against correcting labels.
    """

    config: TrainConfig
    data: TrainingData
    metrics: dict[str, float]
    label_noise: float | None
    unreadable: list[str]
    seconds: float
    warnings: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """The run's folder."""
        return self.config.out

    def summary(self) -> str:
        """Return what was done, in a few lines."""
        data, num_images = self.data, len(self.data.train)
        top1 = self.metrics.get("val_top1")
        found = "aligned to text alone" if top1 is None else f"validation top-1 {top1:.2%}"
        lines = [f"Trained in {duration(self.seconds)}: {found}."]
        if "chosen_epoch" in self.metrics:
            lines.append(f"The weights are those of epoch {self.metrics['chosen_epoch']:.0f}.")
        if self.config.early_stopping and not self.config.holdout:
            lines.append("They were chosen by the validation images, so this accuracy is too high. See --holdout.")
        if data.num_described is not None and data.num_described < num_images:
            without = num_images - data.num_described
            lines.append(f"{without} of {num_images} images have no description; only their labels were used.")
        if self.label_noise:
            lines.append(f"About {self.label_noise:.1%} of the labels are wrong; the descriptions corrected them.")
        elif self.label_noise is not None:
            lines.append("The descriptions give no evidence of wrong labels; all were kept.")
        if data.num_unlabeled and self.config.has_labels:
            lines.append(f"{data.num_unlabeled} of {num_images} training images have no label and got a pseudo-label.")
        if data.num_left_out:
            lines.append(f"{data.num_left_out} images with neither label nor description were left out.")
        if data.dataset.num_shared:
            shared = data.dataset.num_shared
            lines.append(f"{shared} validation images are also training images, so this accuracy is too high.")
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images could not be read and were left out, such as")
            lines += [f"  {text}" for text in self.unreadable[:5]]
        return "\n".join([*lines, *self.warnings, f"Wrote {self.out} (model.safetensors is the plain network)."])

    @property
    def next_command(self) -> str:
        """What to run next."""
        config = self.config
        images = shlex.quote(config.images) if config.images else f"--train {config.train} --val {config.val}"
        if not config.has_labels:
            return f"sightwords train {images} --weights {shlex.quote(str(self.out))} --model {config.model} --out RUN"
        return f"sightwords evaluate {shlex.quote(str(self.out))} {images}"


def train(config: TrainConfig) -> TrainResult:
    """Train a network.

    Raises:
        ConfigError: an option does not fit, or --out holds a run and --resume was not given.
        DataError: the images cannot be used.
        ArtifactError: the embedding set does not fit the images, or the run cannot be resumed.
    """
    folder = RunFolder(config.out)
    if folder.exists() and not config.resume:
        raise ConfigError(f"{config.out} already holds a run. Continue it with --resume, or give another --out.")
    with stopwatch() as seconds, process_group(config.device) as group:
        data = load_data(config, group)
        loop = build_loop(config, data, folder, group)
        backbone = loop.state.task.backbone
        facts = _facts(config, data, backbone)
        warnings = warn_of_use(facts.parts(backbone.identifier), config.use, config.licenses, group.is_main)
        if group.is_main:
            folder.write_facts(facts)
        targets = _targets(config, data, loop)
        if targets is not None and data.targets is None:
            warnings += prompt_warnings(data.texts[0].set)
        batches = training_batches(
            config,
            data,
            loop.order,
            backbone.input_spec,
            first_step=loop.state.step,
            targets=targets,
            pin_memory=group.device.type == "cuda",
        )
        loop.fit(batches)
        if config.has_labels:
            loop.finish(evaluation_loader(config, data, "val", backbone.input_spec, loop.order, group))
        if group.is_main:
            _write_projectors(folder, config, loop, [text.set for text in data.texts])
            folder.save_weights(loop.state.evaluated.backbone.network.state_dict())
            write_text(folder.folder / "card.md", str(make_card(folder, config.licenses)))
        group.barrier()
    problems = [f"{problem.name}: {problem.reason}" for problem in data.dataset.problems]
    return TrainResult(
        config=config,
        data=data,
        metrics=folder.metrics()[-1],
        label_noise=targets.label_noise if targets is not None and config.label_noise_correction else None,
        unreadable=problems + sorted(loop.unreadable),
        seconds=seconds[0],
        warnings=warnings,
    )


def build_loop(config: TrainConfig, data: TrainingData, folder: RunFolder, group: Processes) -> Loop:
    """Build everything that is trained, and go back to the last checkpoint if there is one.

    Raises:
        ConfigError: an option does not fit network or images.
        ArtifactError: the run cannot be resumed.
    """
    order = TrainOrder(
        len(data.train),
        config.batch_size,
        config.seed,
        group.rank,
        group.world_size,
        accumulate=config.accumulate,
        probabilities=draw_probabilities(config.balanced, data.train),
        repeats=config.augment.repeats,
    )
    if order.piece % 2 and (config.augment.mixup or config.augment.cutmix):
        raise ConfigError(f"{order.piece} images in a micro-batch; mixup and cutmix pair images, so it must be even.")
    task = _task(config, data, order.piece).to(group.device)
    if config.channels_last:
        task.backbone.to(memory_format=torch.channels_last)
    state = TrainState(
        task,
        build_optimizer(task, config),
        scaler=torch.amp.GradScaler(group.device.type, enabled=config.precision == "fp16"),
        best=Best(config.early_stopping),
        identity=run_identity(config, data.train, data.dataset.class_ids),
        ema=ModelEmaV3(task, decay=config.ema) if config.ema else None,
    )
    _restore_or_start(state, folder, config, data, group)
    split, spec = "holdout" if config.holdout else "val", task.backbone.input_spec
    return Loop(
        config,
        state,
        order=order,
        make_batch=BatchMaker(task.backbone, config.augment, config.seed, group.device, config.channels_last),
        eval_loader=evaluation_loader(config, data, split, spec, order, group) if config.has_labels else None,
        run=folder,
        group=group,
    )


def _task(config: TrainConfig, data: TrainingData, pad_to: int) -> Task:
    with torch_seeded("backbone", config.seed):
        backbone = build_backbone(
            config.model, data.num_classes, config.image_size, config.weights, **config.model_kwargs
        )
    if config.crop_pct is not None:
        backbone.input_spec = replace(backbone.input_spec, crop_pct=config.crop_pct)
    backbone = backbone.take(config.features, config.align.layers if config.embeddings else ())
    freeze(backbone, config.freeze)
    if data.texts and config.freeze:
        check_trainable(backbone)
    alignment = None
    if data.texts:
        with torch_seeded("head", config.seed):
            alignment = build_alignment(config.align, backbone, data.texts, data.train, data.num_classes)
    weights = class_weights(config.class_weights, data.train, data.num_classes)
    return Task(
        backbone,
        alignment,
        label_smoothing=config.label_smoothing if config.has_labels else 0.0,  # without labels that loss is zero
        multi_label=data.dataset.multi_label,
        pad_to=pad_to,
        class_weight_K=None if weights is None else torch.from_numpy(weights),
    )


def _restore_or_start(
    state: TrainState, folder: RunFolder, config: TrainConfig, data: TrainingData, group: Processes
) -> None:
    """Load the newest checkpoint, or start the run's folder."""
    saved = folder.load_checkpoint() if config.resume else None
    if saved is not None:
        state.load_state_dict(saved)
    if group.is_main:
        if saved is None:
            folder.start(plain_options(config), _network_info(config, state.task.backbone, data))
        folder.truncate_metrics(state.step)
    # the sums of the checkpoint are those of all processes: the main one goes on with them
    state.sums = {name: value.to(group.device) for name, value in state.sums.items()} if group.is_main else {}
    group.barrier()


def _targets(config: TrainConfig, data: TrainingData, loop: Loop) -> LabelTargets | None:
    """Return what to train towards if labels are to be corrected or are missing, else None.

    The main process computes it before the first step; the others and a resumed run read it.
    """
    wanted = data.texts and (config.label_noise_correction or data.num_unlabeled)
    if not config.has_labels or not (wanted or data.targets):
        return None
    path, group = config.out / FILE, loop.group
    if group.is_main and data.targets:
        data.targets.save(path)
    elif group.is_main and not (loop.state.step and path.is_file()):
        noise = None if config.label_noise_correction == "auto" else float(config.label_noise_correction)
        text, labels = data.texts[0], data.train.first_labels()
        names = known_names(data.dataset.class_names, text.set, labels[text.rows.num_texts > 0], config.device)
        found = infer_labels(labels, data.num_classes, text.set, text.rows, names, noise, device=group.device)
        found.targets.save(path)
    group.barrier()
    return LabelTargets.load(path)


def plain_options(config: TrainConfig) -> dict[str, Any]:
    """Return the options that are set, with paths as text, so that the YAML can be used as `--config` again."""
    values = {name: value for name, value in asdict(config).items() if value is not None and name != "resume"}
    values["embeddings"] = [str(folder) for folder in config.embeddings]
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def _network_info(config: TrainConfig, backbone: Backbone, data: TrainingData) -> NetworkInfo:
    return NetworkInfo(
        model=backbone.identifier,
        model_kwargs=dict(config.model_kwargs),
        factory_kwargs=backbone.kwargs,
        num_classes=data.num_classes,
        class_ids=data.dataset.class_ids,
        class_names=data.dataset.class_names,
        multi_label=data.dataset.multi_label,
        **asdict(backbone.input_spec),
    )


def _facts(config: TrainConfig, data: TrainingData, backbone: Backbone) -> RunFacts:
    """Return what the run is made from."""
    weights, license = shown_name(config.weights or ""), None
    if weights == "pretrained":
        weights, license = pretrained_source(backbone)
    return RunFacts(
        images=shown_name(str(config.images or config.train)),
        num_train=len(data.train),
        num_val=len(data.dataset.splits.get("val", ())),
        weights=weights,
        weights_license=license,
        texts=[TextFacts.of(text.set.meta, text.num_described) for text in data.texts],
    )


def _write_projectors(folder: RunFolder, config: TrainConfig, loop: Loop, sets: list[EmbeddingSet]) -> None:
    """Write the projectors that belong to the final weights, so that the network can be searched by words."""
    heads = loop.state.evaluated.alignment
    if heads is None:
        return
    info = ProjectorInfo(
        loss=config.align.loss,
        features=config.features,
        spaces=[_space(head, one) for head, one in zip(heads.pooled_heads(), sets, strict=True)]
        if OBJECTIVES[config.align.loss].searchable
        else [],
    )
    save_projectors(folder, info, projector_tensors(heads))


def _space(head: AlignmentHead, embeddings: EmbeddingSet) -> TextSpace:
    meta, transform = embeddings.meta, head.transform
    return TextSpace(
        embeddings=str(embeddings.folder),
        encoder=str(meta.get("encoder", "")),
        revision=str(meta.get("revision", "")),
        kind=head.projector_kind,
        norm=head.projector_norm,
        in_features=head.in_features,
        out_features=head.out_features,
        targets="raw" if transform is None else "centered" if transform.matrix is None else "whitened",
        words=meta.get("words"),
    )
