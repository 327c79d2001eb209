"""What the report shows beside the figures: pictures, descriptions, commands, versions, licenses."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from sightwords.comparison.advice import Advice
from sightwords.comparison.analysis import Analysis
from sightwords.comparison.arms import CONTROLS
from sightwords.comparison.config import CompareConfig
from sightwords.comparison.record import BASELINE
from sightwords.comparison.report.tables import ReportData, ShownImage
from sightwords.descriptions.store import DescriptionSet
from sightwords.images.dataset import Dataset, Split
from sightwords.images.decode import jpeg, thumbnail
from sightwords.text.embedding_set import EmbeddingSet

MAX_FIXED = 12
MAX_EXAMPLES = 8
THUMBNAIL_PX = 192
PACKAGES = ("sightwords", "torch", "torchvision", "timm", "numpy", "scipy", "pillow", "pyarrow")


def report_data(
    config: CompareConfig, dataset: Dataset, analysis: Analysis, advice: Advice, notes: list[str]
) -> ReportData:
    """Return everything that the report shows."""
    texts = _texts(config.descriptions)
    return ReportData(
        title="Does the text help?",
        conclusions=analysis.conclusions,
        recommendation=advice.text,
        effects=analysis.effects,
        records=analysis.records,
        class_names=dict(zip(dataset.class_ids, dataset.class_names, strict=True)),
        fixed=list(_fixed(analysis, dataset, texts)),
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


def _fixed(analysis: Analysis, dataset: Dataset, texts: dict[str, str]) -> Iterator[ShownImage]:
    """Yield validation images that an aligned network got right in most seeds and its baseline wrong in most.

    Of the first condition, the first arm that is no control, and the network that gains most.
    """
    condition = analysis.conditions[0]
    arm = next((one for one in analysis.arms[1:] if one not in CONTROLS), None)
    if arm is None:
        return
    model = max(analysis.models, key=lambda one: analysis.effect(condition, arm, one).interval.mean)
    chosen = [r for r in analysis.records if (r.cell.condition, r.cell.model) == (condition, model)]
    base, aligned = ([r for r in chosen if r.cell.arm == wanted] for wanted in (BASELINE, arm))
    gain = np.mean([r.correct for r in aligned], 0) - np.mean([r.correct for r in base], 0)
    near = _neighbors(aligned[0].folder)
    val = dataset.split("val")
    places = {key: index for index, key in enumerate(val.keys())}
    names = dict(zip(dataset.class_ids, dataset.class_names, strict=True))
    for index in np.argsort(-gain, kind="stable")[:MAX_FIXED].tolist():
        key, label = base[0].keys[index], base[0].labels[index]
        if gain[index] <= 0 or key not in places:
            return
        said = Counter(r.predicted[index] for r in base if r.predicted[index] != label).most_common(1)[0][0]
        found = [texts[other] for other in near.get(key, []) if other in texts][:3]
        # the class of a multi-label image is its labels, joined as in the table
        shown = ", ".join(names.get(part, part) for part in label.split("|"))
        yield _shown(val, places[key], shown, found, names.get(said, said))


def _neighbors(run: Path) -> dict[str, list[str]]:
    path = run / "evaluation" / "neighbors.parquet"
    if not path.is_file():
        return {}
    table = pq.read_table(path).to_pydict()
    return dict(zip(table["key"], table["neighbors"], strict=True))


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
    return ShownImage(jpeg(thumbnail(image.read(), image.name, THUMBNAIL_PX)), image.name, label, texts, baseline)


def _environment(config: CompareConfig, dataset: Dataset) -> dict[str, str]:
    import torch

    found = {name: _version(name) for name in PACKAGES}
    found["Python"] = platform.python_version()
    found["Processor"] = f"{platform.machine()}, {os.cpu_count()} cores"
    for index in range(torch.cuda.device_count()):
        found[f"GPU {index}"] = torch.cuda.get_device_name(index)
    sizes = ", ".join(f"{len(dataset.split(name))} {name}" for name in ("train", "val"))
    found["Images"] = f"{sizes}, {len(dataset.class_ids)} classes"
    found["Recipe"] = f"{config.epochs} epochs, batch {config.batch_size}, {config.optimizer}, lr {config.lr:g}"
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _licenses(config: CompareConfig) -> dict[str, str]:
    unknown = "not known to sightwords"
    found = {"images": unknown, "starting weights": unknown if config.weights else "none, trained from scratch"}
    for folder in config.embeddings:
        meta = EmbeddingSet(folder).meta
        found[f"encoder {meta['encoder']}"] = str(meta.get("license") or unknown)
        for describer in meta.get("describers", []):
            found[f"describer {describer}"] = unknown
    return found
