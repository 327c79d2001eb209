"""The report of a comparison: one HTML file that needs no other, its pictures, and every number as Parquet."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from sightwords.comparison.analysis import ALL_MODELS
from sightwords.comparison.record import BASELINE, Record
from sightwords.comparison.report.figures import (
    DPI,
    Drawing,
    class_gain_plot,
    condition_plot,
    corruption_plot,
    curve_plot,
    interval_plot,
    reliability_plot,
    render,
)
from sightwords.comparison.report.tables import ReportData, condition_levels, metric_table, severities
from sightwords.files import atomic_path, write_text

CSS_DPI = 110  # a little larger than an inch of CSS, for reading
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_report(out: Path, data: ReportData) -> Path:
    """Write `report.html`, which needs no other file, and `figures/*.png`; return the page's path.

    Args:
        out: folder of the comparison.
        data: what to show.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    from jinja2 import Environment

    pictures = {name: render(draw) for name, draw in _drawings(data)}
    for name, themes in pictures.items():
        with atomic_path(out / "figures" / f"{name}.png") as temporary:
            temporary.write_bytes(on_white(themes["light"]))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["uri"] = lambda picture: base64.b64encode(picture).decode("ascii")
    environment.filters["width"] = css_width
    environment.filters["points"] = lambda value: f"{100 * value:+.1f}".replace("-", "\u2212")
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    headings, metrics = metric_table(data.records)
    text = template.render(
        data=data, pictures=pictures, headings=headings, metrics=metrics, all_models=ALL_MODELS,
        conditions=list(dict.fromkeys(e.condition for e in data.effects)),
    )  # fmt: skip
    # a file name may hold bytes that are no text
    write_text(out / "report.html", text.encode("utf-8", "replace").decode("utf-8"))
    return out / "report.html"


def css_width(png: bytes) -> int:
    """Return the width at which a picture's letters are as large as the page's, in CSS pixels."""
    with Image.open(io.BytesIO(png)) as image:
        return round(image.width * CSS_DPI / DPI)


def on_white(png: bytes) -> bytes:
    """Return a picture with a white ground instead of a transparent one."""
    with Image.open(io.BytesIO(png)) as image:
        cut = image.convert("RGBA")
    paper = Image.new("RGBA", cut.size, "white")
    buffer = io.BytesIO()
    Image.alpha_composite(paper, cut).convert("RGB").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _drawings(data: ReportData) -> Iterator[tuple[str, Drawing]]:
    """Yield the pictures that there is data for, by name."""
    if condition_levels(data.records):
        yield "conditions", lambda: condition_plot(data.records)
    first = [r for r in data.records if r.cell.condition == data.records[0].cell.condition]
    if data.effects:
        yield "intervals", lambda: interval_plot(data.effects)
    if any(record.history for record in first):
        yield "curves", lambda: curve_plot(first)
    arms = dict.fromkeys(r.cell.arm for r in first if r.cell.arm != BASELINE)
    if arms:
        yield "classes", lambda: class_gain_plot(first, next(iter(arms)), data.class_names)
    if any("ece" in record.metrics for record in first):
        yield "reliability", lambda: reliability_plot(first)
    if severities(first):
        yield "corruptions", lambda: corruption_plot(first)


def write_tables(out: Path, data: ReportData) -> None:
    """Write `results.parquet` (a row a training), `effects.parquet` and `history.parquet` (a row a figure)."""
    runs = [{**_place(r), "seconds": r.seconds, **r.metrics} for r in data.records]
    columns = list(dict.fromkeys(name for run in runs for name in run))
    _write(out / "results.parquet", {name: [run.get(name) for run in runs] for name in columns})
    effects = [{**vars(e), **vars(e.interval)} for e in data.effects]
    names = [name for name in (effects[0] if effects else []) if name != "interval"]
    _write(out / "effects.parquet", {name: [effect[name] for effect in effects] for name in names})
    lines = [
        {**_place(r), "epoch": line["epoch"], "name": name, "value": float(value)}
        for r in data.records
        for line in r.history
        for name, value in line.items()
        if name != "epoch"
    ]
    _write(out / "history.parquet", {name: [line[name] for line in lines] for name in (lines[0] if lines else [])})


def _place(record: Record) -> dict[str, str | int]:
    cell = record.cell
    return {"condition": cell.condition, "model": cell.model, "arm": cell.arm, "seed": cell.seed}


def _write(path: Path, columns: dict[str, list[object]]) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
