"""The report of a comparison: one HTML file that needs no other, its plots, and every number as Parquet."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from sightwords.comparison.analysis import ALL_MODELS, Analysis
from sightwords.comparison.report.contents import ReportData, condition_levels, metric_table, severities
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
from sightwords.files import atomic_path, html_template, write_page

CSS_DPI = 110  # a little larger than an inch of CSS, for reading
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_report(out: Path, data: ReportData) -> Path:
    """Write `report.html`, which needs no other file, and `figures/*.png`; return the page's path."""
    plots = {name: render(draw) for name, draw in _drawings(data)}
    for name, themes in plots.items():
        with atomic_path(out / "figures" / f"{name}.png") as temporary:
            temporary.write_bytes(themes["light"])
    template = html_template(
        TEMPLATE,
        uri=lambda plot: base64.b64encode(plot).decode("ascii"),
        width=css_width,
        points=lambda value: f"{100 * value:+.1f}".replace("-", "\u2212"),
    )
    headings, metrics = metric_table(data.analysis.records)
    page = template.generate(
        data=data, plots=plots, headings=headings, metrics=metrics, all_models=ALL_MODELS, analysis=data.analysis
    )
    write_page(out / "report.html", page)
    return out / "report.html"


def css_width(png: bytes) -> int:
    """Return the width at which a plot's letters are as large as the page's, in CSS pixels."""
    with Image.open(io.BytesIO(png)) as image:
        return round(image.width * CSS_DPI / DPI)


def _drawings(data: ReportData) -> Iterator[tuple[str, Drawing]]:
    """Yield the plots that there is data for, by name."""
    records, effects = data.analysis.records, data.analysis.effects
    if condition_levels(records):
        yield "conditions", lambda: condition_plot(records)
    first = [r for r in records if r.cell.condition == records[0].cell.condition]
    if any(record.history for record in first):
        yield "curves", lambda: curve_plot(first)
    if effects:
        yield "intervals", lambda: interval_plot(effects)
        yield "classes", lambda: class_gain_plot(first, effects[0].arm, data.class_names)
    if any("ece" in record.metrics for record in first):
        yield "reliability", lambda: reliability_plot(first)
    if severities(first):
        yield "corruptions", lambda: corruption_plot(first)


def write_tables(out: Path, analysis: Analysis) -> None:
    """Write `results.parquet` (a row a training), `effects.parquet` and `history.parquet` (a row a figure)."""
    runs = [{**vars(r.cell), "seconds": r.seconds, **r.metrics} for r in analysis.records]
    effects = [{**vars(effect), **vars(effect.interval)} for effect in analysis.effects]
    lines = [
        {**vars(r.cell), "epoch": line["epoch"], "name": name, "value": float(value)}
        for r in analysis.records
        for line in r.history
        for name, value in line.items()
        if name != "epoch"
    ]
    for name, rows in (("results", runs), ("effects", effects), ("history", lines)):
        columns = [column for column in dict.fromkeys(column for row in rows for column in row) if column != "interval"]
        with atomic_path(out / f"{name}.parquet") as temporary:
            pq.write_table(pa.table({column: [row.get(column) for row in rows] for column in columns}), temporary)
