"""From the options of a comparison to its trainings, and to what of them fits into --hours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import sightwords
from sightwords.comparison.arms import arm_name, is_file, options_of, with_arm, with_options
from sightwords.comparison.config import CompareConfig
from sightwords.comparison.controls import control_text
from sightwords.comparison.record import CLEAN, Cell
from sightwords.comparison.schedule import Job
from sightwords.errors import ConfigError
from sightwords.files import write_text
from sightwords.images.config import SUBSET_OPTIONS
from sightwords.images.dataset import Dataset, Split
from sightwords.images.subset import make_subset
from sightwords.models import build_backbone
from sightwords.progress import duration
from sightwords.text.embedding_set import EmbeddingSet

FEWEST_SEEDS = 3  # fewer say next to nothing about the spread over seeds
SHARES = (1.0, 0.85, 0.7, 0.6, 0.5)  # of the epochs that are tried; with fewer a training is another one
MARGIN = 1.1  # of the time, for what the trial did not see


def conditions_of(config: CompareConfig) -> dict[str, dict[str, float]]:
    """Return the options of the training set by the name of the condition, the set as it is first."""
    given = [(option, value) for option in SUBSET_OPTIONS for value in getattr(config, option)]
    harder = {f"{option.replace('_', '-')}-{value:g}": {option: value} for option, value in given}
    return {CLEAN: {}, **harder} if config.clean else harder


def model_name(model: str) -> str:
    """Return a network's name, fit for a folder."""
    return Path(model).stem if is_file(model) else model.removeprefix("timm:").replace("/", "_").replace(":", "-")


def training(config: CompareConfig, model: str, epochs: int | None = None) -> sightwords.TrainConfig:
    """Return the options of a network's training without text.

    Raises:
        ConfigError: a file of options has unknown ones.
    """
    shared: dict[str, Any] = {f.name: getattr(config, f.name) for f in fields(sightwords.TrainingOptions)}
    base = sightwords.TrainConfig(**{**shared, "embeddings": []}, out=config.out, resume=True)
    base = with_options(base, options_of(model), model) if is_file(model) else replace(base, model=model)
    if epochs is not None:
        base = replace(base, epochs=round(base.epochs * epochs / config.epochs))
    # what is not measured is not paid for: a few points make a curve
    every = max(config.eval_every, -(-base.epochs // 10)) if not base.early_stopping else config.eval_every
    return replace(base, eval_every=every)


def check_models(config: CompareConfig, dataset: Dataset) -> None:
    """Build every network once, so that a wrong name is an error before anything is trained.

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
    # the further figures need one class an image
    figures = () if dataset.multi_label else ("knn", "probe", "corruptions", "transfer")
    measured: dict[str, Any] = {name: getattr(config, name) for name in figures}
    for condition, options in conditions_of(config).items():
        images = make_subset(dataset.split("train"), len(dataset.class_ids), **options)
        controls = config.out / "controls" / condition
        text = {arm: control_text(arm, config.embeddings, images, dataset.class_names, controls) for arm in config.arms}
        passes = _passes("label_fraction" in options, images)
        for seed, model, arm in product(range(plan.num_seeds), plan.models, config.arms):
            base = replace(training(config, model, plan.epochs), seed=seed, **options)  # type: ignore[arg-type]
            train = with_arm(base, arm, text[arm])
            times = passes(tuple(train.embeddings))
            cell = Cell(condition, model_name(model), arm_name(arm), seed)
            train = replace(
                train, out=cell.folder(config.out), epochs=round(times * train.epochs),
                eval_every=round(times * train.eval_every), warmup_epochs=times * train.warmup_epochs,
            )  # fmt: skip
            jobs[cell] = Job(train, measured)
    return jobs


def _passes(with_few_labels: bool, images: Split) -> Callable[[tuple[Path, ...]], float]:
    """Return how often a training by some embedding sets must go over its images to take as many steps as with all."""

    @cache
    def passes(embeddings: tuple[Path, ...]) -> float:
        if not with_few_labels:
            return 1.0
        is_usable = images.first_labels() >= 0  # or with a text that gives it a pseudo-label
        if embeddings:
            is_usable |= EmbeddingSet(embeddings[0]).rows_of(images.keys()).num_texts > 0
        return 1 / float(is_usable.mean())

    return passes


@dataclass(frozen=True)
class Cost:
    """What a network takes, measured: seconds of an epoch, and of a run beside its epochs (start and measuring)."""

    epoch_s: float
    run_s: float


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        models: names of the networks, as in the command.
        num_seeds: trainings of each cell.
        epochs: of each training.
        notes: what was chosen and left out, as sentences.
    """

    models: list[str]
    num_seeds: int
    epochs: int
    notes: list[str]

    def save(self, path: Path) -> None:
        """Write the plan, so that the same command does not choose anew."""
        write_text(path, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @staticmethod
    def load(path: Path) -> Plan:
        """Return a saved plan."""
        return Plan(**json.loads(path.read_text(encoding="utf-8")))


def time_of(plan: Plan, costs: Mapping[str, Cost], num_cells: float, num_processes: int) -> float:
    """Return the seconds that a plan takes; a cell is an arm with a condition, by its share of the training images."""
    each = (costs[model].epoch_s * plan.epochs + costs[model].run_s for model in plan.models)
    return MARGIN * num_cells * plan.num_seeds * sum(each) / num_processes


def fit(wanted: Plan, costs: Mapping[str, Cost], num_cells: float, num_processes: int, budget_s: float) -> Plan:
    """Return the plan that fits: first fewer seeds (at least 3), then fewer epochs (at least half), then fewer models.

    Raises:
        ConfigError: not even the fastest network fits.
    """
    slowest_first = sorted(wanted.models, key=lambda model: -costs[model].epoch_s)
    lengths = [max(1, round(wanted.epochs * share)) for share in SHARES]
    numbers = range(wanted.num_seeds, min(FEWEST_SEEDS, wanted.num_seeds) - 1, -1)
    for num_left_out, epochs, num_seeds in product(range(len(wanted.models)), lengths, numbers):
        left_out = slowest_first[:num_left_out]
        plan = Plan([model for model in wanted.models if model not in left_out], num_seeds, epochs, [])
        time_s = time_of(plan, costs, num_cells, num_processes)
        if time_s <= budget_s:
            size = f"{len(plan.models)} networks, {num_seeds} seeds, {epochs} epochs, about {duration(time_s)}"
            first = f"Planned for {duration(budget_s)}: {size}."
            return replace(plan, notes=[first, *_what_was_cut(wanted, plan, left_out)])
    raise ConfigError(  # the last plan is the shortest
        f"{duration(budget_s)} are too short: {num_seeds} seeds of {plan.models[0]} with {epochs} epochs take "
        f"about {duration(time_s)}. Give more --hours, fewer --arms, smaller images (--image-size) or --limit."
    )


def _what_was_cut(wanted: Plan, plan: Plan, left_out: list[str]) -> Iterator[str]:
    if plan.num_seeds < wanted.num_seeds:
        yield f"{wanted.num_seeds} seeds were asked for; {plan.num_seeds} fit."
    if plan.epochs < wanted.epochs:
        lower = "so accuracies are lower than they could be"
        yield f"{wanted.epochs} epochs were asked for; {plan.epochs} fit, {lower}."
    if left_out:
        yield f"Left out, being the slowest: {', '.join(left_out)}."
