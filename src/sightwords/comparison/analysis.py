"""From finished trainings to differences with intervals, and to sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sightwords.comparison.arms import CONTROLS
from sightwords.comparison.record import BASELINE, Record
from sightwords.comparison.statistics import SIGNIFICANT, Interval, holm, mcnemar, paired_interval, summarize

ALL_MODELS = "all models"
_MEANING = {
    "class_name": "so the descriptions say more than the label's name",
    "shuffled": "so it matters which text an image has",
    "shuffled_within_class": "so it matters what the text says beyond the class",
    "random_vectors": "so it is the text, and not the further loss by itself",
}
_NO_CONTROL = "Without a control it is open whether the meaning of the text matters (--arms class_name shuffled)."
_ONE_SEED = "With one seed the intervals are over images alone: another seed may differ by more."


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
        conclusions: sentences for each condition and arm that is not a control, and what they leave open.
    """

    records: list[Record]
    effects: list[Effect]
    conclusions: list[str]

    def effect(self, condition: str, arm: str, model: str = ALL_MODELS) -> Effect:
        """Return one effect."""
        wanted = (condition, model, arm)
        return next(e for e in self.effects if (e.condition, e.model, e.arm) == wanted)

    def trainings(self, condition: str, model: str, arm: str) -> list[Record]:
        """Return the trainings of an arm, in the order of their seeds."""
        wanted = (condition, model, arm)
        chosen = [r for r in self.records if (r.cell.condition, r.cell.model, r.cell.arm) == wanted]
        return sorted(chosen, key=lambda record: record.cell.seed)

    def mean_top1(self, condition: str, model: str, arm: str) -> float:
        """Return the mean accuracy over seeds."""
        return float(np.mean([record.metrics["top1"] for record in self.trainings(condition, model, arm)]))

    def difference(self, condition: str, model: str, first: str, second: str) -> Interval:
        """Return the interval of the second arm's accuracy less the first one's."""
        a, b = (self.trainings(condition, model, arm) for arm in (first, second))
        assert all(record.keys == a[0].keys for record in a + b), "the same images in every run"
        return paired_interval(np.stack([r.correct for r in a]), np.stack([r.correct for r in b]))

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
    correct = {record.cell: record.correct for record in records}
    found = Analysis([_tested(record, correct[replace(record.cell, arm=BASELINE)]) for record in records], [], [])
    arms, num_seeds = found.arms[1:], len({record.cell.seed for record in records})
    basis = f"{_count(len(found.models), 'network')}, {_count(num_seeds, 'seed')} and {len(records[0].keys):,} images"
    for condition in found.conditions:
        gains = {arm: [found.difference(condition, m, BASELINE, arm) for m in found.models] for arm in arms}
        for number, model in enumerate(found.models):
            found.effects.extend(_effects(condition, model, {arm: own[number] for arm, own in gains.items()}))
        summaries = _effects(condition, ALL_MODELS, {arm: summarize(own) for arm, own in gains.items()})
        found.effects.extend(summaries)
        for effect in (one for one in summaries if one.arm not in CONTROLS):
            controls = [
                (one, summarize([found.difference(condition, m, one.arm, effect.arm) for m in found.models]))
                for one in summaries if one.arm in CONTROLS
            ]  # fmt: skip
            text = conclusion(effect, controls, basis)
            found.conclusions.append(text if len(found.conditions) == 1 else f"{condition}: {text}")
    if found.conclusions and not CONTROLS.keys() & set(arms):
        found.conclusions.append(_NO_CONTROL)
    if found.conclusions and num_seeds == 1:
        found.conclusions.append(_ONE_SEED)
    return found


def _tested(record: Record, baseline_N: np.ndarray) -> Record:
    """Return a training with McNemar's test against the baseline of its seed."""
    if record.cell.arm == BASELINE:
        return record
    return replace(record, metrics={**record.metrics, "mcnemar_p": mcnemar(baseline_N, record.correct)})


def _effects(condition: str, model: str, intervals: dict[str, Interval]) -> list[Effect]:
    adjusted = holm([interval.p_value for interval in intervals.values()])
    pairs = zip(intervals.items(), adjusted, strict=True)
    return [Effect(condition, model, arm, interval, p) for (arm, interval), p in pairs]


def conclusion(effect: Effect, controls: Sequence[tuple[Effect, Interval]], basis: str) -> str:
    """Return what an arm's trainings show.

    Args:
        effect: of the arm, over all networks.
        controls: each control's own effect, and the arm's difference to the control.
        basis: networks, seeds and images that it rests on, in words.
    """
    arm, gain, is_significant = effect.arm, effect.interval, effect.adjusted_p < SIGNIFICANT
    adjusted = f"adjusted p {f'= {effect.adjusted_p:.2g}' if effect.adjusted_p >= 0.001 else 'below 0.001'}"
    if effect.is_gain:
        first = f"{arm} beats the baseline by {gain.points('')} over {basis} ({adjusted})."
    elif is_significant and gain.high < 0:
        first = f"{arm} is below the baseline by {(-gain).points('')} over {basis} ({adjusted})."
    else:
        first = f"No difference between {arm} and the baseline is shown: {gain.points()} over {basis}"
        is_apart = gain.low > 0 or gain.high < 0
        first += f"; of several arms one may look so by chance ({adjusted})." if is_apart else "."
    return " ".join([first, *(_control(control, arm, against) for control, against in controls)])


def _control(control: Effect, arm: str, against: Interval) -> str:
    text = f"{CONTROLS[control.arm].capitalize()} give {control.interval.points()};"
    if against.low > 0:
        return f"{text} {arm} is better by {against.points('')}, {_MEANING[control.arm]}."
    if against.high < 0:
        return f"{text} {arm} is worse than that by {(-against).points('')}."
    return f"{text} the difference to {arm}, {against.points()}, is within chance."


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
