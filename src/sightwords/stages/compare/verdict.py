"""A comparison in a sentence that says no more than the figures do."""

from __future__ import annotations

from collections.abc import Mapping

from sightwords.stages.compare.statistics import SIGNIFICANT, Interval

_TOLD = {
    "class_name": "class names alone",
    "shuffled": "descriptions shuffled among the images",
    "shuffled_within_class": "descriptions shuffled within each class",
    "random_vectors": "random vectors",
}
_MEANING = {
    "class_name": "so the descriptions say more than the label's name",
    "shuffled": "so it matters which text an image has",
    "shuffled_within_class": "so it matters what the text says beyond the class",
    "random_vectors": "so it is the text, and not the further loss by itself",
}


def verdict(
    arm: str,
    effect: Interval,
    adjusted_p: float,
    controls: Mapping[str, Interval],
    against_controls: Mapping[str, Interval],
    num_models: int,
    num_seeds: int,
    num_images: int,
) -> str:
    """Return what an arm's trainings show, with its controls.

    Args:
        arm: name of the arm.
        effect: its difference to the baseline, over all networks.
        adjusted_p: p value after correction for the number of arms.
        controls: by name, the control's difference to the baseline.
        against_controls: by name, the arm's difference to the control.
        num_models: networks.
        num_seeds: seeds of each.
        num_images: validation images.
    """
    counts = f"{_count(num_models, 'network')}, {_count(num_seeds, 'seed')} and {num_images:,} images"
    if adjusted_p < SIGNIFICANT and effect.low > 0:
        first = f"{arm} beats the baseline by {_of(effect)} over {counts} (adjusted p {_p(adjusted_p)})."
    elif adjusted_p < SIGNIFICANT and effect.high < 0:
        first = f"{arm} is below the baseline by {_of(_negated(effect))} over {counts} (adjusted p {_p(adjusted_p)})."
    else:
        first = f"No difference between {arm} and the baseline is shown: {_signed(effect)} over {counts}"
        apart = effect.low > 0 or effect.high < 0
        first += f"; of several arms one may look so by chance (adjusted p {_p(adjusted_p)})." if apart else "."
    told = [_control(name, arm, controls[name], against) for name, against in against_controls.items()]
    return " ".join([first, *told])


def caveats(num_controls: int, num_seeds: int) -> list[str]:
    """Return what all verdicts of a comparison leave open.

    Args:
        num_controls: arms that are controls.
        num_seeds: seeds of each network.
    """
    told = []
    if not num_controls:
        told.append(
            "Without a control it is open whether the meaning of the text matters (--arms class_name shuffled)."
        )
    if num_seeds == 1:
        told.append("With one seed the intervals are over images alone: another seed may differ by more.")
    return told


def _control(name: str, arm: str, control: Interval, against: Interval) -> str:
    text = f"{_TOLD[name].capitalize()} give {_signed(control)};"
    if against.low > 0:
        return f"{text} {arm} is better by {_of(against)}, {_MEANING[name]}."
    if against.high < 0:
        return f"{text} {arm} is worse than that by {_of(_negated(against))}."
    return f"{text} the difference to {arm}, {_signed(against)}, is within chance."


def _of(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} points [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _signed(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f} points [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def _negated(interval: Interval) -> Interval:
    return Interval(-interval.mean, -interval.high, -interval.low, 1 - interval.probability, interval.p_value)


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 0.001 else "below 0.001"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
