"""Which classes a trained network takes for one another, from the confusion matrix of an evaluated run."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from sightwords.errors import ConfigError

NUM_NAMED = 3


def read_confusions(run: Path, class_ids: Sequence[str], class_names: Sequence[str]) -> dict[str, list[str]]:
    """Return class name -> names of the classes that it is most often confused with, either way round.

    Args:
        run: an evaluated run, or the folder that `sightwords evaluate --out` wrote.
        class_ids: ids of the images' classes.
        class_names: their readable names, same order.

    Raises:
        ConfigError: the run is not evaluated, or its classes are others.
    """
    ids, counts = _matrix(run)
    if ids != list(class_ids):
        differing = sorted(set(ids) ^ set(class_ids)) or ["their order"]
        raise ConfigError(
            f"The run {run} has {len(ids)} classes and the images have {len(class_ids)}; differing: "
            f"{', '.join(differing[:5])}. Name a run that was trained for these images."
        )
    confusions: dict[str, list[str]] = {}
    for i, name in enumerate(class_names):
        mistakes = [(counts[i][j] + counts[j][i], j) for j in range(len(ids)) if j != i]
        ranked = sorted((pair for pair in mistakes if pair[0]), key=lambda pair: (-pair[0], pair[1]))
        if ranked:
            confusions[name] = [class_names[j] for _, j in ranked[:NUM_NAMED]]
    return confusions


def _matrix(run: Path) -> tuple[list[str], list[list[int]]]:
    files = [folder / "confusion.csv" for folder in (run / "evaluation", run)]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise ConfigError(f"{run} has no confusion matrix. Make it with: sightwords evaluate {run} IMAGES")
    with file.open(newline="", encoding="utf-8") as stream:
        head, *rows = csv.reader(stream)
    try:
        return head[1:], [[int(value) for value in row[1:]] for row in rows]
    except ValueError as error:
        raise ConfigError(f"{file} is no confusion matrix ({error}). Evaluate the run again.") from None
