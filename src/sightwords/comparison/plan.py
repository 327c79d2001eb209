"""What a comparison trains: every cell, fitted into the time that there is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sightwords.errors import ConfigError
from sightwords.files import write_text
from sightwords.progress import duration

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
