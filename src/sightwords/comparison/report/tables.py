"""Figures that the report draws from many trainings at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightwords.comparison.analysis import Effect
from sightwords.comparison.record import BASELINE, CLEAN, Record
from sightwords.images.config import SUBSET_OPTIONS


@dataclass(frozen=True)
class ShownImage:
    """An image of the report.

    Attributes:
        jpeg: its thumbnail, a JPEG file.
        name: as a user knows the image.
        label: readable name of its class.
        texts: its description, or those of the training images that the aligned network finds it most like.
        baseline: class that the baseline predicts; empty for a training image.
    """

    jpeg: bytes
    name: str
    label: str
    texts: list[str]
    baseline: str = ""


@dataclass(frozen=True)
class ReportData:
    """Everything that the report shows.

    Attributes:
        title: heading.
        conclusions: sentences, the first of them on top.
        recommendation: what to do.
        effects: of every condition, network and arm.
        records: the trainings.
        class_names: readable name by class id.
        fixed: images that the text put right.
        examples: training images with their descriptions.
        commands: what was run.
        environment: versions, hardware, recipe.
        licenses: of each part.
        notes: what was left out, and why.
    """

    title: str
    conclusions: list[str]
    recommendation: str
    effects: list[Effect]
    records: list[Record]
    class_names: dict[str, str]
    fixed: list[ShownImage]
    examples: list[ShownImage]
    commands: list[str]
    environment: dict[str, str]
    licenses: dict[str, str]
    notes: list[str]


LABELS = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean per class",
    "ece": "calibration error",
    "knn_top1": "kNN of features",
    "probe_top1": "linear probe",
    "transfer_top1": "transfer",
    "corruption_mean": "corrupted",
    "map": "mAP",
}


def class_gains(records: Sequence[Record], arm: str) -> list[tuple[str, float]]:
    """Return each class id with what an arm gains in its accuracy, mean over networks and seeds, largest gain first."""
    labels = np.array(records[0].labels)
    by_arm = [np.mean([r.correct for r in records if r.cell.arm == name], 0) for name in (BASELINE, arm)]
    difference = by_arm[1] - by_arm[0]
    gains = [(str(label), float(difference[labels == label].mean())) for label in np.unique(labels)]
    return sorted(gains, key=lambda gain: -gain[1])


def severities(records: Sequence[Record]) -> dict[str, list[int]]:
    """Return the corruptions that every training was measured under, with their severities."""
    found: dict[str, list[int]] = {}
    for name in set.intersection(*(set(record.metrics) for record in records)):
        if match := re.fullmatch(r"corruption_(.+)_(\d+)", name):
            found.setdefault(match[1], []).append(int(match[2]))
    return {kind: sorted(levels) for kind, levels in sorted(found.items())}


def condition_levels(records: Sequence[Record]) -> dict[str, dict[float, str]]:
    """Return the kinds of harder training sets, each with its levels and their conditions; the clean set is one too."""
    names = dict.fromkeys(record.cell.condition for record in records)
    kinds: dict[str, dict[float, str]] = {}
    for name in names:
        if match := re.fullmatch(rf"({'|'.join(SUBSET_OPTIONS).replace('_', '-')})-(.+)", name):
            kinds.setdefault(match[1], {})[float(match[2])] = name
    if CLEAN in names:
        for kind, levels in kinds.items():
            levels[0.0 if kind == "label-noise" else 1.0] = CLEAN
    return {kind: dict(sorted(levels.items())) for kind, levels in kinds.items()}


def metric_table(records: Sequence[Record]) -> tuple[list[str], list[tuple[str, str, list[str]]]]:
    """Return headings, and for each condition and arm the mean of every metric over networks and seeds, in percent."""
    shown = [name for name in LABELS if all(name in record.metrics for record in records)]
    rows = []
    for place in dict.fromkeys((r.cell.condition, r.cell.arm) for r in records):
        own = [r for r in records if (r.cell.condition, r.cell.arm) == place]
        rows.append((*place, [f"{100 * np.mean([r.metrics[name] for r in own]):.1f}" for name in shown]))
    return [LABELS[name] for name in shown], rows
