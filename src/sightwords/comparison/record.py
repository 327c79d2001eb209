"""What is known of one finished training of a comparison, and of all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from sightwords.models.run_folder import RunFolder

BASELINE = "baseline"
CLEAN = "clean"


@dataclass(frozen=True)
class Cell:
    """What one training is: its place in the comparison.

    Attributes:
        condition: what the training set went through, `CLEAN` or for instance `label-noise-0.5`.
        model: short name of the network.
        arm: `BASELINE`, `aligned`, a control, or another set of options for the alignment.
        seed: seed of everything.
    """

    condition: str
    model: str
    arm: str
    seed: int

    def folder(self, root: Path) -> Path:
        """Return the run's folder."""
        return root / "runs" / self.condition / self.model / self.arm / f"seed-{self.seed}"


@dataclass(frozen=True)
class Record:
    """One finished training.

    Attributes:
        cell: what it is.
        folder: the run's folder.
        metrics: figures of the validation images by name, accuracies in [0, 1] (`top1`, `ece`, `knn_top1` ...).
        keys: the N validation images, sorted.
        labels: class id of each, length N.
        predicted: predicted class id of each, length N.
        scores: softmax score of the predicted class, float32, shape (N,).
        correct: bool, shape (N,).
        history: lines of metrics.jsonl, one an epoch, with `epoch`, `train_loss`, `train_classification_loss`, in
            aligned arms `train_align_loss`, and where it was evaluated `val_top1` and `val_loss`.
        seconds: duration of the training.
    """

    cell: Cell
    folder: Path
    metrics: dict[str, float]
    keys: list[str]
    labels: list[str]
    predicted: list[str]
    scores: np.ndarray
    correct: np.ndarray
    history: list[dict[str, Any]]
    seconds: float


def read_record(cell: Cell, root: Path) -> Record:
    """Return a finished training of the comparison in `root`."""
    folder = cell.folder(root)
    table = pq.read_table(folder / "evaluation" / "predictions.parquet").sort_by("key").to_pydict()
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    # of several labels: the strongest output is one of them
    metrics.setdefault("top1", float(np.mean(table["correct"])))
    done = json.loads((folder / "finished.json").read_text(encoding="utf-8"))
    return Record(
        cell,
        folder,
        metrics={name: value for name, value in metrics.items() if isinstance(value, int | float)},
        keys=table["key"],
        labels=table["label"],
        predicted=table["predicted"],
        scores=np.array(table["score"], np.float32),
        correct=np.array(table["correct"], bool),
        history=RunFolder(folder).metrics(),
        seconds=float(done["seconds"]),
    )
