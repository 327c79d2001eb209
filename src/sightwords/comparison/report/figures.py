"""The plots of the report, each drawn for light and for dark paper. The one file that needs matplotlib."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from sightwords.comparison.analysis import ALL_MODELS, Effect
from sightwords.comparison.record import BASELINE, Record
from sightwords.comparison.report.contents import class_gains, condition_levels, severities
from sightwords.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colors, which color-blind people tell apart; the baseline is gray
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", ":")  # of the first six arms, the next six, and those after them
GRAY = "#8a8a8a"
DPI = 180
MAX_COLUMNS = 4
CURVES = {
    "val_top1": "validation top-1, %",
    "train_classification_loss": "classification loss",
    "train_align_loss": "alignment loss",
}
CONDITIONS = {
    "train-fraction": "share of the training images",
    "label-noise": "share of wrong labels",
    "long-tail": "first class against the last",
    "label-fraction": "share of the labels",
}
# colors of ink, lines and ground
THEMES = {"light": ("#23211e", "#d9d4cb", "white"), "dark": ("#e7e4de", "#45474c", "none")}
STYLE: Any = {
    "font.size": 9, "font.family": "sans-serif", "axes.titleweight": "bold", "axes.titlesize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.linewidth": 0.5,
    "axes.facecolor": "none", "legend.frameon": False, "figure.constrained_layout.use": True,
}  # fmt: skip
Drawing = Callable[[], "Figure"]


def looks_of(arms: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return matplotlib's options for each arm's line and markers, the same in every plot.

    Markers are empty where their color is another arm's too.
    """
    looks = [
        {"color": color, "linestyle": line, "markerfacecolor": color if line == LINES[0] else "none"}
        for line in LINES for color in COLORS
    ]  # fmt: skip
    others = [arm for arm in arms if arm != BASELINE]
    return {BASELINE: {"color": GRAY}} | dict(zip(others, itertools.cycle(looks), strict=False))


def check_installed() -> None:
    """Ask for what plots need: before hours of training, not after them.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "report")


def render(draw: Drawing) -> dict[str, bytes]:
    """Return a plot as PNG for each theme; the dark one's ground is transparent."""
    import matplotlib

    plots = {}
    for theme, (ink, line, ground) in THEMES.items():
        inks: Any = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink)
        with matplotlib.rc_context({**STYLE, **inks, "axes.edgecolor": line, "grid.color": line}):
            buffer = io.BytesIO()
            draw().savefig(buffer, format="png", dpi=DPI, facecolor=ground)
        plots[theme] = buffer.getvalue()
    return plots


def _axes(
    num: int, width: float, height: float, columns: int = MAX_COLUMNS, **options: Any
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure  # without pyplot: no global state, no window

    columns = min(columns, num)
    rows = -(-num // columns)
    figure = Figure(figsize=(width * columns, height * rows))
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for spare in axes[num:]:
        spare.set_visible(False)
    return figure, axes[:num]


def interval_plot(effects: Sequence[Effect]) -> Figure:
    """Draw the gain of each arm with its interval, a line for each network, a panel for each condition."""
    conditions, arms = _distinct(e.condition for e in effects), _distinct(e.arm for e in effects)
    models, looks = _distinct(e.model for e in effects), looks_of(arms)
    height = 0.6 + len(models) * (0.16 + 0.13 * len(arms))
    figure, axes = _axes(len(conditions), 4.2 if len(conditions) > 1 else 7.2, height, 2, sharey=True)
    for axis, condition in zip(axes, conditions, strict=True):
        axis.axvline(0, color=GRAY, linewidth=1)
        for effect in (e for e in effects if e.condition == condition):
            place = models.index(effect.model) + (arms.index(effect.arm) - (len(arms) - 1) / 2) * 0.8 / len(arms)
            gain = effect.interval
            sides = [[100 * (gain.mean - gain.low)], [100 * (gain.high - gain.mean)]]
            marker, size = ("D", 6) if effect.model == ALL_MODELS else ("o", 4)
            first = effect.model == models[0]
            drawn = axis.errorbar(
                [100 * gain.mean], [place], xerr=sides, marker=marker, markersize=size, linewidth=1.6,
                label=effect.arm if first else None, **looks[effect.arm],
            )  # fmt: skip
            drawn.lines[2][0].set_linestyle(looks[effect.arm]["linestyle"])
        axis.set_yticks(range(len(models)), models)
        axis.set_title(condition, loc="left")
        axis.set_xlabel("gain over the baseline, points of top-1, 95% interval")
        axis.grid(False, axis="y")
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=min(4, len(arms)))
    return figure


def curve_plot(records: Sequence[Record]) -> Figure:
    """Draw accuracy and both losses against the epoch, a column for each network; thin lines are seeds."""
    from matplotlib.ticker import MaxNLocator

    models, arms = _distinct(r.cell.model for r in records), _distinct(r.cell.arm for r in records)
    names = [name for name in CURVES if any(name in line for r in records for line in r.history)]
    figure, axes = _axes(len(names) * len(models), 2.6, 2.0, len(models), sharex="col")
    looks = looks_of(arms)
    for row, name in enumerate(names):
        for column, model in enumerate(models):
            axis = axes[row * len(models) + column]
            for arm in arms:
                own = [r for r in records if (r.cell.model, r.cell.arm) == (model, arm)]
                _curves(axis, own, name, looks[arm], arm)
            if not row:
                axis.set_title(model, loc="left")
            if not column:
                axis.set_ylabel(CURVES[name])
            if row == len(names) - 1:
                axis.set_xlabel("epoch")
                axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


def _curves(axis: Axes, records: Sequence[Record], name: str, look: dict[str, Any], label: str) -> None:
    scale = 100 if name == "val_top1" else 1
    lines = [{line["epoch"]: scale * line[name] for line in r.history if name in line} for r in records]
    lines = [line for line in lines if line]
    if not lines:
        return
    for line in lines if len(lines) > 1 else []:
        axis.plot(list(line), list(line.values()), linewidth=0.5, alpha=0.4, **look)
    epochs = sorted(set.intersection(*(set(line) for line in lines)))
    means = [np.mean([line[epoch] for line in lines]) for epoch in epochs]
    marker = "." if len(epochs) < 3 else None
    axis.plot(epochs, means, linewidth=1.6, label=label, marker=marker, **look)


def condition_plot(records: Sequence[Record]) -> Figure:
    """Draw accuracy against how few the images, how long the tail and how wrong the labels are; means over networks."""
    kinds = condition_levels(records)
    figure, axes = _axes(len(kinds), 3.4, 2.8, sharey=True)
    for axis, (kind, levels) in zip(axes, kinds.items(), strict=True):
        for arm, look in looks_of(_distinct(r.cell.arm for r in records)).items():
            own = [r for r in records if r.cell.arm == arm]
            means = [100 * np.mean([r.metrics["top1"] for r in own if r.cell.condition == name])
                     for name in levels.values()]  # fmt: skip
            axis.plot(list(levels), means, marker="o", markersize=4, linewidth=1.4, label=arm, **look)
        if kind != "label-noise":
            axis.set_xscale("log")
            axis.set_xticks(list(levels), [f"{level:g}" for level in levels], minor=False)
            axis.minorticks_off()
        axis.set_xlabel(CONDITIONS[kind])
    axes[0].set_ylabel("top-1, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


def class_gain_plot(records: Sequence[Record], arm: str, names: dict[str, str], num_shown: int = 24) -> Figure:
    """Draw the classes that an arm gains and loses most in, mean over networks and seeds."""
    gains = class_gains(records, arm)
    if len(gains) > num_shown:
        gains = gains[: num_shown // 2] + gains[-num_shown // 2 :]
    figure, axes = _axes(1, 7.2, 0.7 + 0.19 * len(gains))
    values = [100 * gain for _, gain in gains]
    color = looks_of(_distinct(r.cell.arm for r in records))[arm]["color"]
    axes[0].barh(range(len(gains)), values, color=[color if value >= 0 else GRAY for value in values], height=0.7)
    axes[0].set_yticks(range(len(gains)), [_short(names.get(label, label)) for label, _ in gains])
    axes[0].invert_yaxis()
    axes[0].axvline(0, color=GRAY, linewidth=1)
    axes[0].set_xlabel(f"gain of {arm}, points of the class's accuracy")
    axes[0].grid(False, axis="y")
    return figure


def reliability_plot(records: Sequence[Record], num_bins: int = 10) -> Figure:
    """Draw accuracy against the network's score; on the diagonal scores are what they claim."""
    arms = _distinct(r.cell.arm for r in records)
    figure, axes = _axes(1, 4.4, 3.8)
    axes[0].plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle=":")
    for arm, look in looks_of(arms).items():
        own = [r for r in records if r.cell.arm == arm]
        scores, correct = (np.concatenate([getattr(r, name) for r in own]) for name in ("scores", "correct"))
        bins = np.minimum((scores * num_bins).astype(int), num_bins - 1)
        full = [b for b in range(num_bins) if (bins == b).sum() >= 5]
        points = [(scores[bins == b].mean(), correct[bins == b].mean()) for b in full]
        errors = [r.metrics["ece"] for r in own if "ece" in r.metrics]
        label = f"{arm} (ECE {100 * float(np.mean(errors)):.1f}%)" if errors else arm
        axes[0].plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1.4, label=label, **look)
    axes[0].set_xlabel("score of the predicted class")
    axes[0].set_ylabel("share that is right")
    axes[0].set_aspect("equal")
    axes[0].legend(loc="upper left")
    return figure


def corruption_plot(records: Sequence[Record]) -> Figure:
    """Draw accuracy against severity, a panel for each corruption; severity 0 is the image as it is."""
    arms = _distinct(r.cell.arm for r in records)
    kinds = severities(records)
    figure, axes = _axes(len(kinds), 2.4, 2.0, sharey=True)
    for axis, (kind, levels) in zip(axes, kinds.items(), strict=True):
        for arm, look in looks_of(arms).items():
            own = [r for r in records if r.cell.arm == arm]
            names = ["top1", *(f"corruption_{kind}_{level}" for level in levels)]
            means = [100 * np.mean([r.metrics[name] for r in own]) for name in names]
            axis.plot([0, *levels], means, linewidth=1.4, label=arm, **look)
        axis.set_title(kind.replace("_", " "), loc="left")
    axes[0].set_ylabel("top-1, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _short(name: str, length: int = 28) -> str:
    return name if len(name) <= length else name[: length - 1] + "\u2026"
