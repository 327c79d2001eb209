"""What a user should do, as it follows from the figures of a comparison."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import sightwords
from sightwords.comparison.analysis import Analysis, Effect
from sightwords.comparison.arms import CONTROLS
from sightwords.comparison.config import CompareConfig
from sightwords.comparison.record import BASELINE
from sightwords.files import write_text
from sightwords.images.config import SUBSET_OPTIONS
from sightwords.training.run import plain_options

# of this comparison and machine, and what a condition did to the images, which nobody else wants
LEFT_OUT = {"images", "out", "seed", "device", "workers", *SUBSET_OPTIONS}
RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Advice:
    """A recommendation.

    Attributes:
        arm: the arm to train.
        model: the network whose mean accuracy is highest in that arm.
        text: the recommendation in words.
        options: of `sightwords train`, as YAML values.
        command: the next command.
    """

    arm: str
    model: str
    text: str
    options: dict[str, Any]
    command: str


def advise(
    analysis: Analysis, config: CompareConfig, options: Mapping[tuple[str, str], sightwords.TrainConfig]
) -> Advice:
    """Return what follows from the figures of the first condition.

    An arm is recommended where it is shown to beat the baseline: its interval over all networks lies above
    zero, also after correction for the number of arms; among several, the one of the largest mean. Class names count
    like an arm of their own: they cost nothing. Otherwise it is the baseline.

    Args:
        analysis: the figures.
        config: of the comparison.
        options: of the trainings, by network and arm.
    """
    condition = analysis.conditions[0]
    effects = [analysis.effect(condition, arm) for arm in analysis.arms[1:]]
    real = [e for e in effects if e.is_gain and (e.arm not in CONTROLS or e.arm == "class_name")]
    best = max(real, key=lambda effect: effect.interval.mean, default=None)
    arm = best.arm if best is not None else BASELINE
    model = max(analysis.models, key=lambda one: analysis.mean_top1(condition, one, arm))
    top1 = analysis.mean_top1(condition, model, arm)
    text = f"Recommended: {_reason(best, effects, condition)} Most accurate: {model} ({top1:.1%} top-1)."
    command = ["sightwords", "--config", str(config.out / RECIPE), "train", *([config.images] if config.images else [])]
    values = plain_options(options[model, arm])
    recipe = {name: value for name, value in values.items() if name not in LEFT_OUT and value != []}
    return Advice(arm, model, text, recipe, shlex.join([*command, "--out", "RUN"]))


def write_recipe(path: Path, advice: Advice) -> None:
    """Write the recommended options as YAML for `sightwords --config FILE train ...`, with the reason on top."""
    options = yaml.safe_dump(advice.options, sort_keys=False, allow_unicode=True)
    write_text(path, f"# {advice.text}\n{options}")


def _reason(best: Effect | None, effects: list[Effect], condition: str) -> str:
    if best is None:
        tried = max(effects, key=lambda effect: effect.interval.high, default=None)
        if tried is None:
            return "the baseline, as nothing else was trained."
        return (
            f"train without text: no arm's gain is shown ({condition}). A gain of up to "
            f"{100 * max(0.0, tried.interval.high):.1f} points is not excluded; more seeds or images would tell."
        )
    gain = f"{best.interval.points()} over the baseline ({condition})"
    if best.arm == "class_name":
        return f"class names as the only text: {gain}. Descriptions gain no more here, and cost more."
    names = next((effect for effect in effects if effect.arm == "class_name"), None)
    if names is not None and names.interval.high > best.interval.low and names.interval.low > 0:
        return f"{best.arm}: {gain}. Class names alone gain {names.interval.points()}: try those first, they are free."
    return f"{best.arm}: {gain}."
