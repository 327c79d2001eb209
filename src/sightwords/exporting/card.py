"""The model card of an export, in the format of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from sightwords.errors import ArtifactError
from sightwords.exporting.certificate import Certificate
from sightwords.exporting.checkpoint import Subject
from sightwords.exporting.config import ExportConfig
from sightwords.licenses import read_licenses
from sightwords.models.run_facts import RunFacts, license_lines, shown_name
from sightwords.models.run_folder import RunFolder

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


TASK = "image-classification"
_LIBRARIES = {"timm": "timm", "hub": "timm", "torchvision": "torchvision", "onnx": "onnx", "torch_export": "pytorch"}
_UNKNOWN_PARTS = "This run was made by a version of sightwords that did not write down what it was made from."


@dataclass(frozen=True)
class CardFacts:
    """Everything that a card tells.

    Attributes:
        title: name of the network.
        config: the options of the export.
        folder: the run.
        subject: the network.
        facts: what it was made from, None where the run does not say.
        comparison: what text gains, None where nobody compared.
        certificate: what was verified.
        snippet: Python that loads the file.
    """

    title: str
    config: ExportConfig
    folder: RunFolder
    subject: Subject
    facts: RunFacts | None
    comparison: Comparison | None
    certificate: Certificate
    snippet: str


def make_card(card: CardFacts) -> str:
    """Return the card: front matter in YAML, then Markdown."""
    body = "\n".join(_body(card))
    return str(ModelCard(f"---\n{_front_matter(card).to_yaml()}\n---\n\n{body}\n"))


def _front_matter(card: CardFacts) -> ModelCardData:
    values = card.folder.config()
    tags = [TASK, "sightwords", card.certificate.format.replace("_", "-")]
    tags += ["language-supervision"] if card.facts and card.facts.texts else []
    top1 = _top1(card.folder)
    results = None
    if top1 is not None and not card.subject.info.multi_label:
        name = (
            card.config.dataset[0]
            if card.config.dataset
            else shown_name(str(values.get("images") or values.get("val")))
        )
        results = [EvalResult(TASK, name, name, "accuracy", round(top1, 5), dataset_split="val", metric_name="top-1")]
    return ModelCardData(
        license=card.config.license,
        library_name=_LIBRARIES[card.certificate.format],
        pipeline_tag=TASK,
        tags=list(dict.fromkeys(tags)),
        datasets=card.config.dataset or None,
        model_name=card.title if results else None,
        eval_results=results,
    )


def _body(card: CardFacts) -> list[str]:
    info = card.subject.info
    kind = "each with a probability of its own" if info.multi_label else "one of them for each image"
    lines = [
        f"# {card.title}",
        "",
        f"{info.model} with {info.num_classes} classes, {kind}. It is the library's plain network: text, encoder and "
        "projection took part in training only.",
        "",
        *_section("Use", ["```python", card.snippet, "```", "", _preprocessing(card)]),
        *_section("Made from", _made_from(card)),
        *_section("Figures", _figures(card)),
        *_section("Licenses", _licenses(card)),
        *_section("Verified", ["```", card.certificate.text(), "```"]),
    ]
    return lines[:-1]


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _preprocessing(card: CardFacts) -> str:
    info = card.subject.info
    return (
        f"Input: RGB, shorter side resized to {max(info.image_size, round(info.image_size / info.crop_pct))} px "
        f"({info.interpolation}), center crop of {info.image_size} px, values from 0 to 1 less {list(info.mean)}, "
        f"divided by {list(info.std)}. Classes: {', '.join(info.class_names[:20])}"
        f"{f' and {info.num_classes - 20} more' if info.num_classes > 20 else ''}."
    )


def _made_from(card: CardFacts) -> list[str]:
    if card.facts is None:
        return [_UNKNOWN_PARTS]
    values = card.folder.config()
    recipe = f"- Recipe: {values.get('epochs')} epochs, batch {values.get('batch_size')}, {values.get('optimizer')}, "
    recipe += f"learning rate {values.get('lr')}, seed {values.get('seed')}"
    aligned = f"- Alignment: {_options(values.get('align', {}))}" if card.facts.texts else "- Text: none (a baseline)"
    return [*card.facts.lines(), f"- Network: {card.subject.info.model}", aligned, recipe]


def _options(align: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {align[name]}" for name in ("loss", "weight", "weighting", "targets") if name in align)


def _figures(card: CardFacts) -> list[str]:
    top1, values = _top1(card.folder), card.folder.config()
    lines = ["No accuracy is recorded."]
    if top1 is not None:
        chosen = bool(values.get("early_stopping")) and not values.get("holdout")
        caveat = " The weights were chosen by these images, so it is too high." if chosen else ""
        lines = [f"Validation top-1 {top1:.2%}, of one training with seed {values.get('seed')}.{caveat}"]
    if card.comparison is None:
        return [*lines, "", "Nobody has compared this network with one that was trained without text."]
    return [*lines, "", *card.comparison.lines()]


def _licenses(card: CardFacts) -> list[str]:
    given = f"The network is published under {card.config.license}." if card.config.license else ""
    given = given or "No license was given to the network by whoever exported it."
    lines = [f"{given} Its parts may limit what it may be used for:", ""]
    if card.facts is None:
        return [*lines[:1], "", _UNKNOWN_PARTS]
    table = read_licenses(card.config.licenses)
    return [*lines, *license_lines([table.find(part) for part in card.facts.parts(card.subject.info.model)])]


def _top1(folder: RunFolder) -> float | None:
    metrics = folder.metrics()
    return float(metrics[-1]["val_top1"]) if metrics and "val_top1" in metrics[-1] else None
