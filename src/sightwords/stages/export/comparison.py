"""What a comparison found, as far as a card tells it: each arm's gain over the baseline, with its interval."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from sightwords.errors import ArtifactError

FILES = ("comparison.json", "effects.parquet", "results.parquet")
_ALL = "all models"
_PARENTS = 6  # a run lies at runs/CONDITION/NETWORK/ARM/SEED below its comparison


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        name: of its folder.
        effects: a row for each condition, network and arm: gains in top-1 with their interval.
        num_seeds: seeds of each arm.
        epochs: of its trainings.
    """

    name: str
    effects: list[dict[str, Any]]
    num_seeds: int
    epochs: int | None

    def lines(self) -> list[str]:
        """Return the gains as a table in Markdown."""
        rows = [
            f"| {e['condition']} | {e['model']} | {e['arm']} | {100 * e['mean']:+.1f} | "
            f"{100 * e['low']:+.1f} to {100 * e['high']:+.1f} | {e['adjusted_p']:.3g} |"
            for e in self.effects
        ]
        epochs = f" of {self.epochs} epochs" if self.epochs else ""
        trainings = "one training" if self.num_seeds == 1 else f"{self.num_seeds} trainings"
        return [
            f"Gains over the baseline in points of validation top-1, {trainings}{epochs} of every arm, "
            "with 95 % intervals; p is corrected for the number of arms (Holm). `class_name`, `shuffled` and the other "
            "controls tell whether the meaning of the descriptions matters.",
            "",
            "| training set | network | arm | gain | 95 % interval | p |",
            "|---|---|---|---|---|---|",
            *rows,
        ]


def find_comparison(named: Path | None, run: Path) -> Comparison | None:
    """Return the comparison that the user named, or the one that the run is part of; None where there is none.

    Raises:
        ArtifactError: what the user named is no finished comparison.
    """
    if named is not None:
        missing = [name for name in FILES if not (named / name).is_file()]
        if missing:
            raise ArtifactError(
                f"{named} is no finished comparison ({missing[0]} is missing). Make one with: sightwords compare"
            )
        return _read(named)
    parents = run.resolve().parents[:_PARENTS]
    found = next((folder for folder in parents if all((folder / name).is_file() for name in FILES)), None)
    return _read(found) if found else None


def _read(folder: Path) -> Comparison:
    options = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    effects = pq.read_table(folder / "effects.parquet").to_pylist()
    num_seeds = len(pc.unique(pq.read_table(folder / "results.parquet", columns=["seed"])["seed"]))
    # of one network, the summary over networks says the same again
    single = len({effect["model"] for effect in effects} - {_ALL}) == 1
    shown = [effect for effect in effects if not (single and effect["model"] == _ALL)]
    return Comparison(folder.name, shown, num_seeds, options.get("epochs"))
