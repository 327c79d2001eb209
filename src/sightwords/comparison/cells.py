"""From the options of a comparison to its trainings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
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


FEWEST_SEEDS = 3  # fewer say next to nothing about the spread over seeds
SHORTEST = 0.5  # share of the epochs below which a training is another one
MARGIN = 1.1  # of the time, for what the trial did not see


@dataclass(frozen=True)
class Cost:
    """What a network takes, measured.

    Attributes:
        epoch_s: seconds of an epoch.
        run_s: seconds of a run beside its epochs: start and measuring.
    """

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
    """Return the seconds that a plan takes.

    Args:
        plan: what is trained.
        costs: of each network.
        num_cells: arms times conditions, the latter counted by their share of the training images.
        num_processes: trainings at once.
    """
    each = (costs[model].epoch_s * plan.epochs + costs[model].run_s for model in plan.models)
    return MARGIN * num_cells * plan.num_seeds * sum(each) / num_processes


def fit(wanted: Plan, costs: Mapping[str, Cost], num_cells: float, num_processes: int, budget_s: float) -> Plan:
    """Return the plan that fits: first fewer seeds (at least 3), then fewer epochs (at least half), then fewer models.

    Raises:
        ConfigError: not even the fastest network fits.
    """
    by_cost = sorted(wanted.models, key=lambda model: costs[model].epoch_s)
    fewest = min(FEWEST_SEEDS, wanted.num_seeds)
    shares = (1.0, 0.85, 0.7, 0.6, SHORTEST)
    lengths = sorted({max(1, round(wanted.epochs * share)) for share in shares}, reverse=True)
    for num_models in range(len(by_cost), 0, -1):
        kept = [model for model in wanted.models if model in by_cost[:num_models]]
        for epochs in lengths:
            for num_seeds in range(wanted.num_seeds, fewest - 1, -1):
                plan = Plan(kept, num_seeds, epochs, [])
                expected_s = time_of(plan, costs, num_cells, num_processes)
                if expected_s <= budget_s:
                    return replace(plan, notes=_notes(wanted, plan, expected_s, budget_s))
    shortest = Plan(by_cost[:1], fewest, math.ceil(SHORTEST * wanted.epochs), [])
    needed = time_of(shortest, costs, num_cells, num_processes)
    raise ConfigError(
        f"{duration(budget_s)} are too short: {fewest} seeds of {by_cost[0]} with {shortest.epochs} epochs take "
        f"about {duration(needed)}. Give more --hours, fewer --arms, smaller pictures (--image-size) or --limit."
    )


def _notes(wanted: Plan, plan: Plan, expected_s: float, budget_s: float) -> list[str]:
    notes = [
        f"Planned for {duration(budget_s)}: {len(plan.models)} networks, {plan.num_seeds} seeds, {plan.epochs} epochs, "
        f"about {duration(expected_s)}."
    ]
    if plan.num_seeds < wanted.num_seeds:
        notes.append(f"{wanted.num_seeds} seeds were asked for; {plan.num_seeds} fit.")
    if plan.epochs < wanted.epochs:
        notes.append(
            f"{wanted.epochs} epochs were asked for; {plan.epochs} fit, so accuracies are lower than they could be."
        )
    if left_out := [model for model in wanted.models if model not in plan.models]:
        notes.append(f"Left out, being the slowest: {', '.join(left_out)}.")
    return notes
