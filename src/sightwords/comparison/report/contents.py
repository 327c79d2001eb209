"""What the report shows: images, descriptions, commands, versions, licenses, and figures of many trainings at once."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import sightwords
from sightwords.comparison.analysis import Analysis
from sightwords.comparison.arms import CONTROLS
from sightwords.comparison.config import CompareConfig
from sightwords.comparison.record import BASELINE, CLEAN, Record
from sightwords.descriptions.store import DescriptionSet
from sightwords.images.config import SUBSET_OPTIONS
from sightwords.images.dataset import Dataset, Split
from sightwords.images.decode import thumbnail_uri
from sightwords.text.embedding_set import EmbeddingSet

MAX_FIXED = 12
MAX_EXAMPLES = 8
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pillow", "pyarrow")
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


@dataclass(frozen=True)
class ShownImage:
    """An image of the report.

    Attributes:
        uri: `data:` address of its thumbnail.
        name: as a user knows the image.
        label: readable name of its class.
        texts: its description, or those of the training images that the aligned network finds it most like.
        baseline: class that the baseline predicts; empty for a training image.
    """

    uri: str
    name: str
    label: str
    texts: list[str]
    baseline: str = ""


@dataclass(frozen=True)
class ReportData:
    """Everything that the report shows.

    Attributes:
        analysis: every figure, and the conclusions.
        recommendation: what to do.
        class_names: readable name by class id.
        fixed: images that the text put right.
        examples: training images with their descriptions.
        commands: what was run.
        environment: versions, hardware, recipe.
        licenses: of each part.
        notes: what was left out, and why.
    """

    analysis: Analysis
    recommendation: str
    class_names: dict[str, str]
    fixed: list[ShownImage]
    examples: list[ShownImage]
    commands: list[str]
    environment: dict[str, str]
    licenses: dict[str, str]
    notes: list[str]


def report_data(
    config: CompareConfig, dataset: Dataset, analysis: Analysis, recommendation: str, notes: list[str]
) -> ReportData:
    """Return everything that the report shows."""
    texts = _texts(config.descriptions)
    class_names = dict(zip(dataset.class_ids, dataset.class_names, strict=True))
    return ReportData(
        analysis=analysis,
        recommendation=recommendation,
        class_names=class_names,
        fixed=list(_fixed(analysis, dataset.split("val"), class_names, texts)),
        examples=list(_examples(dataset, texts)),
        commands=list(_commands(config)),
        environment=_environment(config, dataset),
        licenses=_licenses(config),
        notes=notes,
    )


def _commands(config: CompareConfig) -> Iterator[str]:
    """Yield the command that was given, and how to repeat a single training."""
    if Path(sys.argv[0]).name in ("sightwords", "__main__.py"):
        yield "sightwords " + shlex.join(sys.argv[1:])
    one = config.out / "runs" / "CONDITION" / "NETWORK" / "ARM" / "seed-N" / "config.yaml"
    yield f"sightwords --config {shlex.quote(str(one))} train --out RUN   # a single training again"


def _texts(path: Path | None) -> dict[str, str]:
    """Return the first description of each image by key; none without a description set."""
    texts: dict[str, str] = {}
    if path is not None:
        with DescriptionSet(path) as descriptions:
            for row in descriptions.select():
                texts.setdefault(row.key, row.text)
    return texts


def _fixed(analysis: Analysis, val: Split, names: dict[str, str], texts: dict[str, str]) -> Iterator[ShownImage]:
    """Yield validation images that an aligned network got right in most seeds and its baseline wrong in most.

    Of the first condition, the first arm that is not a control, and the network that gains most.
    """
    condition = analysis.conditions[0]
    arm = next((one for one in analysis.arms[1:] if one not in CONTROLS), None)
    if arm is None:
        return
    model = max(analysis.models, key=lambda one: analysis.effect(condition, arm, one).interval.mean)
    base, aligned = (analysis.trainings(condition, model, wanted) for wanted in (BASELINE, arm))
    gain = np.mean([r.correct for r in aligned], 0) - np.mean([r.correct for r in base], 0)
    near: dict[str, list[str]] = {}
    if (file := aligned[0].folder / "evaluation" / "neighbors.parquet").is_file():
        near = dict(zip(*pq.read_table(file, columns=["key", "neighbors"]).to_pydict().values(), strict=True))
    places = {key: index for index, key in enumerate(val.keys())}
    for index in np.argsort(-gain, kind="stable")[:MAX_FIXED].tolist():
        key, label = base[0].keys[index], base[0].labels[index]
        if gain[index] <= 0:
            return
        said = Counter(r.predicted[index] for r in base if r.predicted[index] != label).most_common(1)[0][0]
        found = [texts[other] for other in near.get(key, []) if other in texts][:3]
        # the class of a multi-label image is its labels, joined as in the table
        shown = ", ".join(names.get(part, part) for part in label.split("|"))
        yield _shown(val, places[key], shown, found, names.get(said, said))


def _examples(dataset: Dataset, texts: dict[str, str]) -> Iterator[ShownImage]:
    """Yield training images of as many classes with their descriptions."""
    train = dataset.split("train")
    labels, seen = train.first_labels(), set()
    for index, key in enumerate(train.keys()):
        label = int(labels[index])
        if key in texts and label not in seen:
            seen.add(label)
            yield _shown(train, index, dataset.class_names[label] if label >= 0 else "", [texts[key]])
        if len(seen) == MAX_EXAMPLES:
            return


def _shown(images: Split, index: int, label: str, texts: list[str], baseline: str = "") -> ShownImage:
    image = images.reference(index)
    return ShownImage(thumbnail_uri(image), image.name, label, texts, baseline)


def _environment(config: CompareConfig, dataset: Dataset) -> dict[str, str]:
    import torch

    found = {"sightwords": sightwords.__version__, **{name: version(name) for name in PACKAGES}}
    found["Python"] = platform.python_version()
    found["Processor"] = f"{platform.machine()}, {os.cpu_count()} cores"
    for index in range(torch.cuda.device_count()):
        found[f"GPU {index}"] = torch.cuda.get_device_name(index)
    sizes = ", ".join(f"{len(dataset.split(name))} {name}" for name in ("train", "val"))
    found["Images"] = f"{sizes}, {len(dataset.class_ids)} classes"
    found["Recipe"] = f"{config.epochs} epochs, batch {config.batch_size}, {config.optimizer}, lr {config.lr:g}"
    return found


def _licenses(config: CompareConfig) -> dict[str, str]:
    unknown = "not known to sightwords"
    found = {"images": unknown, "starting weights": unknown if config.weights else "none, trained from scratch"}
    for folder in config.embeddings:
        meta = EmbeddingSet(folder).meta
        found[f"encoder {meta['encoder']}"] = str(meta.get("license") or unknown)
        for describer in meta.get("describers", []):
            found[f"describer {describer}"] = unknown
    return found


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
