"""What a comparison shows, in plain words, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sightwords.stages.compare.statistics import Interval, in_points

_ALPHA = 0.05


@dataclass(frozen=True)
class _Control:
    """How to speak of a control: its name in words, and what it means if an arm is above it, or is not."""

    words: str
    above: str
    within: str


_CONTROLS = {
    "class_name": _Control(
        "Class names alone give",
        "the text carries more than the names of the classes",
        "it is not shown that the text does more than the names of the classes",
    ),
    "shuffled": _Control(
        "Shuffled text (each image has another's) gives",
        "it matters that the text belongs to the image, or at least to its class",
        "it is not shown that the text has to belong to the image",
    ),
    "shuffled_within_class": _Control(
        "Text shuffled within each class gives",
        "it matters what the text says of its own image, beyond the class",
        "it is not shown that the text says more of its own image than of the class",
    ),
    "random_vectors": _Control(
        "Random vectors instead of text give",
        "it matters what the text means, and not only that there is a second target",
        "it is not shown that the meaning matters: any fixed vectors may do the same",
    ),
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
    """Return what is shown of an arm, what its controls mean for that, and what stays open, in whole sentences.

    A difference from the baseline counts as shown where its interval leaves out 0 and the adjusted p value is below
    0.05; one from a control where its interval leaves out 0.

    Args:
        arm: name of the arm.
        effect: 95% interval of the arm minus the baseline.
        adjusted_p: p value of the effect, adjusted for the number of arms.
        controls: 95% interval of each control minus the baseline, by the control's name.
        against_controls: 95% interval of the arm minus each control; a control may be left out.
        num_models: networks that the effect is a summary of.
        num_seeds: seeds of each arm.
        num_images: validation images.
    """
    others = {name: control for name, control in controls.items() if name != arm}
    gain = adjusted_p < _ALPHA and effect.low > 0
    over = f"{_count(num_models, 'model')}, {_count(num_seeds, 'seed')} and {_count(num_images, 'image')}"
    sentences = [_main_sentence(arm, effect, adjusted_p, over)]
    sentences += [_control_sentence(arm, name, own, against_controls.get(name), gain) for name, own in others.items()]
    if not others:
        sentences.append("No control was run, so it is not shown that the meaning of the text matters.")
    elif not gain:
        sentences.append("As no gain is shown, there is none for the controls to explain.")
    return " ".join(sentences + _limits(num_models, num_seeds, bool(others)))


def _main_sentence(arm: str, effect: Interval, adjusted_p: float, over: str) -> str:
    chance = f"(adjusted p {'< 0.001' if adjusted_p < 0.001 else f'= {_p_text(adjusted_p)}'})"
    if adjusted_p < _ALPHA and effect.low > 0:
        return f"{arm} beats baseline by {_range(effect)} over {over} {chance}."
    if adjusted_p < _ALPHA and effect.high < 0:
        loss = Interval(-effect.mean, -effect.high, -effect.low, 1 - effect.probability, effect.p_value)
        return f"{arm} is below baseline by {_range(loss)} over {over} {chance}."
    found = f"{arm} against baseline: no difference is shown: {_range(effect, '+')} over {over} {chance}"
    if effect.low > 0 or effect.high < 0:
        return f"{found}; the interval by itself leaves out 0, but not enough for the number of arms that were tried."
    return f"{found}; that is no proof that there is none, as any effect within the brackets fits the results."


def _control_sentence(arm: str, name: str, own: Interval, against: Interval | None, gain: bool) -> str:
    known = _CONTROLS.get(name) or _Control(
        f"The control {name} gives",
        f"{arm} has something that this control lacks",
        f"it is not shown that {arm} needs what this control lacks",
    )
    lead = f"{known.words} {_range(own, '+')} over baseline"
    if against is None:
        return f"{lead}; {arm} was not compared with that, so nothing follows from it."
    outcome, meaning = "within chance", known.within
    if against.low > 0:
        outcome, meaning = "more than chance", known.above
        if own.high < 0:
            meaning += ", but part of that lead is the harm that the control does"
    elif against.high < 0:
        outcome, meaning = "a loss beyond chance", "the control does better without what the text has"
    said = f"{lead}, and {arm} adds {_range(against, '+')} to that, which is {outcome}"
    return f"{said}: {meaning}." if gain else f"{said}."


def _limits(num_models: int, num_seeds: int, with_controls: bool) -> list[str]:
    """Return a sentence for each thing that the results cannot tell."""
    limits = []
    if num_seeds == 1:
        limits.append(
            "With one seed the spread over seeds is unknown: the intervals cover chance in the images alone, and "
            "another training may turn out otherwise."
        )
    if num_seeds == 2:
        limits.append("Two seeds say little of the spread over seeds: the intervals may be too narrow; use 3 or more.")
    if num_models == 1:
        limits.append("This holds for the one network that was trained.")
    if with_controls:
        limits.append("Brackets are 95% intervals; those of the controls are not widened for their number.")
    return limits


def _range(interval: Interval, sign: str = "-") -> str:
    """Return `2.1 points [1.2, 3.0]`; sign `+` marks the mean's sign, the brackets have minus signs only."""
    _, low, high = in_points(interval, "-")
    return f"{in_points(interval, sign)[0]} points [{low}, {high}]"


def _p_text(p_value: float) -> str:
    """Return a p value with three decimals, never rounded up to the threshold it is below, nor to a false 1."""
    text = f"{p_value:.3f}"
    return f"{p_value:.4f}" if p_value < _ALPHA <= float(text) else text


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
