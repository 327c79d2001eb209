"""From finished trainings to differences with intervals, and to sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sightwords.comparison.arms import CONTROLS
from sightwords.comparison.record import BASELINE, Record, right_answers
from sightwords.comparison.statistics import (
    SIGNIFICANT,
    Counts,
    Interval,
    caveats,
    conclusion,
    holm,
    mcnemar,
    paired_interval,
    summarize,
)

ALL_MODELS = "all models"


@dataclass(frozen=True)
class Effect:
    """What an arm gains over the baseline, in top-1.

    Attributes:
        condition: of the training set.
        model: the network, or `ALL_MODELS`.
        arm: the arm.
        interval: of the difference.
        adjusted_p: p value after Holm's correction for all arms of this condition and network.
    """

    condition: str
    model: str
    arm: str
    interval: Interval
    adjusted_p: float

    @property
    def is_gain(self) -> bool:
        """Whether the arm is shown to beat the baseline, also after the correction for several arms."""
        return self.interval.low > 0 and self.adjusted_p < SIGNIFICANT


@dataclass(frozen=True)
class Analysis:
    """Everything that the trainings show.

    Attributes:
        records: the trainings; in each beside a baseline, `mcnemar_p` is among the metrics.
        effects: of every condition, network and arm, the summary over networks last.
        conclusions: sentences for each condition and arm that is no control, and what they leave open.
    """

    records: list[Record]
    effects: list[Effect]
    conclusions: list[str]

    def effect(self, condition: str, arm: str, model: str = ALL_MODELS) -> Effect:
        """Return one effect."""
        wanted = (condition, model, arm)
        return next(e for e in self.effects if (e.condition, e.model, e.arm) == wanted)

    def mean_top1(self, condition: str, model: str, arm: str) -> float:
        """Return the mean accuracy over seeds."""
        chosen = [r for r in self.records if (r.cell.condition, r.cell.model, r.cell.arm) == (condition, model, arm)]
        return float(np.mean([record.metrics["top1"] for record in chosen]))

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, in order."""
        return _distinct(record.cell.condition for record in self.records)

    @property
    def models(self) -> list[str]:
        """Names of the networks, in order."""
        return _distinct(record.cell.model for record in self.records)

    @property
    def arms(self) -> list[str]:
        """Names of the arms, the baseline first."""
        return sorted(_distinct(record.cell.arm for record in self.records), key=lambda arm: arm != BASELINE)

    @property
    def num_seeds(self) -> int:
        """How many seeds there are."""
        return len({record.cell.seed for record in self.records})

    def table(self) -> str:
        """Return accuracies and gains as plain text."""
        width = max(len(name) for name in [*self.models, ALL_MODELS, *self.arms]) + 2
        lines = []
        for condition in self.conditions:
            lines += ["", f"validation top-1, {condition}: baseline, then what each arm gains in points [95% interval]"]
            lines.append(" " * width + f"{BASELINE:>9}" + "".join(f"{arm:>24}" for arm in self.arms[1:]))
            for model in [*self.models, ALL_MODELS]:
                known = self.models if model == ALL_MODELS else [model]
                base = np.mean([self.mean_top1(condition, one, BASELINE) for one in known])
                gains = (self.effect(condition, arm, model).interval.points(unit="") for arm in self.arms[1:])
                lines.append(f"{model:<{width}}{base:>9.1%}" + "".join(f"{gain:>24}" for gain in gains))
        return "\n".join(lines)


def analyze(records: Sequence[Record]) -> Analysis:
    """Return differences of every arm to the baseline, and to the controls, with what they show."""
    cells = _Cells(records)
    bare = Analysis([cells.tested(record) for record in records], [], [])
    arms = bare.arms[1:]
    effects: list[Effect] = []
    conclusions: list[str] = []
    for condition in bare.conditions:
        by_arm = {arm: [cells.difference(condition, model, BASELINE, arm) for model in bare.models] for arm in arms}
        for number, model in enumerate(bare.models):
            effects += _effects(condition, model, {arm: found[number] for arm, found in by_arm.items()})
        summaries = _effects(condition, ALL_MODELS, {arm: summarize(found) for arm, found in by_arm.items()})
        effects += summaries
        conclusions += [_conclusion(cells, bare, one, summaries) for one in summaries if one.arm not in CONTROLS]
    if conclusions:
        conclusions += caveats(len(CONTROLS.keys() & set(arms)), bare.num_seeds)
    return Analysis(bare.records, effects, conclusions)


class _Cells:
    """The trainings by condition, network and arm."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records: dict[tuple[str, str, str], list[Record]] = {}
        for record in records:
            self._records.setdefault((record.cell.condition, record.cell.model, record.cell.arm), []).append(record)

    def difference(self, condition: str, model: str, first: str, second: str) -> Interval:
        """Return the interval of `second` less `first`."""
        a, b = (right_answers(self._records[condition, model, arm]) for arm in (first, second))
        return paired_interval(a, b)

    def tested(self, record: Record) -> Record:
        """Return a training with McNemar's test against the baseline of its seed."""
        cell = record.cell
        if cell.arm == BASELINE:
            return record
        base = next(r for r in self._records[cell.condition, cell.model, BASELINE] if r.cell.seed == cell.seed)
        return replace(record, metrics={**record.metrics, "mcnemar_p": mcnemar(base.correct, record.correct)})


def _effects(condition: str, model: str, intervals: dict[str, Interval]) -> list[Effect]:
    adjusted = holm([interval.p_value for interval in intervals.values()])
    pairs = zip(intervals.items(), adjusted, strict=True)
    return [Effect(condition, model, arm, interval, p) for (arm, interval), p in pairs]


def _conclusion(cells: _Cells, found: Analysis, effect: Effect, summaries: Sequence[Effect]) -> str:
    controls = {one.arm: one.interval for one in summaries if one.arm in CONTROLS}
    against = {
        control: summarize([cells.difference(effect.condition, m, control, effect.arm) for m in found.models])
        for control in controls
    }
    counts = Counts(len(found.models), found.num_seeds, len(found.records[0].keys))
    text = conclusion(effect.arm, effect.interval, effect.adjusted_p, controls, against, counts)
    return text if len(found.conditions) == 1 else f"{effect.condition}: {text}"


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
