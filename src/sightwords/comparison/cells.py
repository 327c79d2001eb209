"""From the options of a comparison to its trainings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import sightwords
from sightwords.comparison.arms import arm_name, is_file, options_of, with_arm, with_options
from sightwords.comparison.config import CompareConfig
from sightwords.comparison.controls import control_text
from sightwords.comparison.plan import Plan
from sightwords.comparison.record import CLEAN, Cell
from sightwords.comparison.schedule import Job
from sightwords.errors import ConfigError
from sightwords.images.config import SUBSET_OPTIONS
from sightwords.images.dataset import Dataset, Split
from sightwords.images.subset import make_subset
from sightwords.models import build_backbone
from sightwords.text.embedding_set import EmbeddingSet

_SHARED = [f.name for f in fields(sightwords.TrainingOptions)]


@dataclass(frozen=True)
class Condition:
    """What the training set goes through.

    Attributes:
        name: fit for a folder.
        options: of the training.
    """

    name: str
    options: dict[str, float]

    @property
    def share(self) -> float:
        """Share of the training images that is left, about."""
        return self.options.get("train_fraction", 1.0)


def conditions_of(config: CompareConfig) -> list[Condition]:
    """Return the conditions, the training set as it is first."""
    found = [Condition(CLEAN, {})] if config.clean else []
    for option in SUBSET_OPTIONS:
        for value in getattr(config, option):
            found.append(Condition(f"{option.replace('_', '-')}-{value:g}", {option: value}))
    return found


def model_name(model: str) -> str:
    """Return a network's name, fit for a folder."""
    if is_file(model):
        return Path(model).stem
    return model.removeprefix("timm:").replace("/", "_").replace(":", "-")


def training(config: CompareConfig, model: str, epochs: int | None = None) -> sightwords.TrainConfig:
    """Return the options of a network's training without text.

    Raises:
        ConfigError: a file of options has unknown ones.
    """
    shared: dict[str, Any] = {name: getattr(config, name) for name in _SHARED if name != "embeddings"}
    base = sightwords.TrainConfig(**shared, out=config.out, resume=True)
    base = with_options(base, options_of(model), model) if is_file(model) else replace(base, model=model)
    if epochs is not None:
        base = replace(base, epochs=round(base.epochs * epochs / config.epochs))
    # what is not measured is not paid for: a few points make a curve
    every = max(config.eval_every, -(-base.epochs // 10)) if not base.early_stopping else config.eval_every
    return replace(base, eval_every=every)


def check_models(config: CompareConfig, dataset: Dataset) -> None:
    """Build every network once, so that a wrong name is told before anything is trained.

    Raises:
        ConfigError: a network is unknown, or two have the same name here.
    """
    names = [model_name(model) for model in config.models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"--models names {', '.join(twice)} twice. Give the files names of their own.")
    for model in config.models:
        one = training(config, model)
        build_backbone(one.model, len(dataset.class_ids), one.image_size, None, **one.model_kwargs)


def jobs_of(config: CompareConfig, plan: Plan, dataset: Dataset) -> dict[Cell, Job]:
    """Return every training of the plan, all arms of a seed together: the first figures come early."""
    jobs: dict[Cell, Job] = {}
    measured: dict[str, Any] = {name: getattr(config, name) for name in ("knn", "probe", "corruptions", "transfer")}
    for condition in conditions_of(config):
        images = make_subset(dataset.split("train"), len(dataset.class_ids), **condition.options)
        controls = config.out / "controls" / condition.name
        text = {arm: control_text(arm, config.embeddings, images, dataset.class_names, controls) for arm in config.arms}
        passes = _passes(condition, images)
        for seed, model, arm in product(range(plan.num_seeds), plan.models, config.arms):
            base = replace(training(config, model, plan.epochs), seed=seed, **condition.options)  # type: ignore[arg-type]
            train = with_arm(base, arm, text[arm])
            times = passes(tuple(train.embeddings))
            cell = Cell(condition.name, model_name(model), arm_name(arm), seed)
            train = replace(
                train, out=cell.folder(config.out), epochs=round(times * train.epochs),
                eval_every=round(times * train.eval_every), warmup_epochs=times * train.warmup_epochs,
            )  # fmt: skip
            # the further figures need one class an image
            jobs[cell] = Job(train.out, train, {} if dataset.multi_label else measured)
    return jobs


def _passes(condition: Condition, images: Split) -> Callable[[tuple[Path, ...]], float]:
    """Return how often a training by some embedding sets must go over its images to take as many steps as with all."""

    @cache
    def passes(embeddings: tuple[Path, ...]) -> float:
        if "label_fraction" not in condition.options:
            return 1.0
        is_usable = images.first_labels() >= 0  # or with a text that gives it a pseudo-label
        if embeddings:
            is_usable |= EmbeddingSet(embeddings[0]).rows_of(images.keys()).num_texts > 0
        return 1 / float(is_usable.mean())

    return passes
