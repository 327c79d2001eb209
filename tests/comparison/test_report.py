from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sightwords.comparison.analysis import Analysis, Effect, analyze
from sightwords.comparison.record import Cell, Record
from sightwords.comparison.report.contents import (
    ReportData,
    ShownImage,
    class_gains,
    condition_levels,
    metric_table,
    severities,
)
from sightwords.comparison.report.figures import check_installed, condition_plot
from sightwords.comparison.report.page import write_report, write_tables
from sightwords.comparison.statistics import Interval
from support.chromium import needs_chromium, open_chromium

HOSTILE = '<script>document.title = "taken"</script><img src=x onerror=alert(1)>'


def record(condition: str, model: str, arm: str, seed: int) -> Record:
    """Return a made-up training of which the aligned ones are better."""
    draw = np.random.default_rng([len(condition), len(model), len(arm), seed])
    labels = [HOSTILE if number % 3 == 0 else f"class {number % 3}" for number in range(60)]
    correct = draw.random(60) < (0.7 if arm == "aligned" else 0.5)
    scores = draw.uniform(0.3, 1, 60).astype(np.float32)
    history = [
        {"step": 10 * e, "epoch": e, "train_loss": 2 / e, "train_classification_loss": 2 / e, "val_top1": 0.1 * e}
        for e in range(1, 5)
    ]
    metrics = {"top1": float(correct.mean()), "ece": 0.1, "knn_top1": 0.4, "corruption_mean": 0.3, "num_images": 60}
    metrics |= {f"corruption_jpeg_{severity}": 0.5 - 0.05 * severity for severity in range(1, 6)}
    keys = [f"{number:064x}" for number in range(60)]
    predicted = [label if right else "class 1" for label, right in zip(labels, correct, strict=True)]
    cell = Cell(condition, model, arm, seed)
    return Record(cell, None, metrics, keys, labels, predicted, scores, correct, history, 12.5)


@pytest.fixture(scope="module")
def data() -> ReportData:
    conditions, models = ("clean", "label-noise-0.5"), ("resnet18", "vit_small")
    arms = ("baseline", "aligned", "shuffled")
    records = [record(c, m, a, s) for c in conditions for m in models for a in arms for s in range(3)]
    effects = [
        Effect(c, m, a, Interval(0.021, 0.012, 0.03, 0.99, 0.001), 0.002)
        for c in conditions
        for m in (*models, "all models")
        for a in arms[1:]
    ]
    conclusions = ["aligned beats the baseline by 2.1 points [1.2, 3.0]. Shuffled text gives nothing.", "A second one."]
    uri = "data:image/jpeg;base64,AAAA"
    return ReportData(
        Analysis(records, effects, conclusions), "Recommended: aligned.", {},
        [ShownImage(uri, HOSTILE, "cat", [HOSTILE], HOSTILE)], [ShownImage(uri, HOSTILE, "cat", [HOSTILE])],
        commands=["sightwords compare photos"], environment={"torch": "2.11"}, licenses={"images": "unknown"},
        notes=["Left out: resnet152."],
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(data, tmp_path_factory):
    """The page that shows all of it."""
    return write_report(tmp_path_factory.mktemp("report"), data)


def test_the_page_is_one_file_that_loads_and_runs_nothing(written):
    page = written.read_text()
    assert not re.search(r"""(?:src|srcset|href)\s*=\s*["'](?!data:)""", page)
    assert not any(word in page for word in ("<script", "url(", HOSTILE))
    assert "&lt;script&gt;" in page  # shown, as text
    order = ["aligned beats the baseline", "Recommended: aligned", "What each arm gains", "+2.1", "How they learned"]
    order += ["More than top-1", "Which classes gain", "Put right by the text", "What the text says"]
    order += ["sightwords compare photos", "Left out", "Licenses"]
    places = [page.index(text) for text in order]
    assert places == sorted(places)
    files = sorted((written.parent / "figures").iterdir())
    assert [path.stem for path in files] == [
        "classes", "conditions", "corruptions", "curves", "intervals", "reliability",
    ]  # fmt: skip
    assert len(re.findall(r"data:image/png;base64,", page)) == 3 * len(files)  # print, dark, light
    for path in files:
        with Image.open(path) as image:
            assert np.asarray(image.convert("L")).std() > 1


def test_what_there_is_no_data_for_is_left_out(data, tmp_path):
    records = [replace(r, metrics={"top1": r.metrics["top1"]}, history=[]) for r in data.analysis.records]
    bare = replace(data, analysis=replace(data.analysis, records=records), fixed=[], examples=[])
    page = write_report(tmp_path, bare).read_text()
    for heading in ("How they learned", "Put right", "What the text says"):
        assert heading not in page
    assert sorted(path.stem for path in (tmp_path / "figures").iterdir()) == ["classes", "conditions", "intervals"]


def test_tables_hold_every_number(data, tmp_path):
    write_tables(tmp_path, data.analysis)
    results = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert len(results) == len(data.analysis.records)
    for row, one in zip(results, data.analysis.records, strict=True):
        assert {name: row[name] for name in one.metrics} == one.metrics
    effects = pq.read_table(tmp_path / "effects.parquet").to_pylist()
    expected = [{**vars(effect), **vars(effect.interval)} for effect in data.analysis.effects]
    assert effects == [{name: value for name, value in one.items() if name != "interval"} for one in expected]
    history = pq.read_table(tmp_path / "history.parquet").to_pylist()
    assert len(history) == sum(len(line) - 1 for one in data.analysis.records for line in one.history)


def test_figures_by_hand(data):
    chosen = data.analysis.records[:9]
    gains = dict(class_gains(chosen, "aligned"))
    labels = np.array(chosen[0].labels)
    base, aligned = (np.mean([r.correct for r in chosen if r.cell.arm == arm], 0) for arm in ("baseline", "aligned"))
    assert gains["class 1"] == pytest.approx((aligned - base)[labels == "class 1"].mean())
    assert severities(chosen) == {"jpeg": [1, 2, 3, 4, 5]}
    assert condition_levels(data.analysis.records) == {"label-noise": {0.0: "clean", 0.5: "label-noise-0.5"}}
    few = [replace(r, cell=replace(r.cell, condition="label-fraction-0.25")) for r in data.analysis.records[18:]]
    assert condition_levels([*chosen, *few]) == {"label-fraction": {0.25: "label-fraction-0.25", 1.0: "clean"}}
    assert condition_plot([*chosen, *few]).axes[0].get_xlabel() == "share of the labels"
    headings, rows = metric_table(chosen)
    assert headings == ["top-1", "calibration error", "kNN of features", "corrupted"]
    assert rows[0][2][1:] == ["10.0", "40.0", "30.0"]


def test_what_conclusions_leave_open_is_said_once_behind_them(data):
    arms = ["baseline", "aligned", "other"]
    found = analyze([record("clean", "resnet18", arm, 0) for arm in arms]).conclusions
    assert [text.split(" ")[0] for text in found[2:]] == ["Without", "With"]
    assert not any("Without a control" in text for text in analyze(data.analysis.records).conclusions)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"sightwords\[report\]"):
        check_installed()


@pytest.mark.slow
@needs_chromium
def test_page_as_people_see_it(written):
    address = written.as_uri()
    with open_chromium() as browser:
        for scheme, darkest, lightest in (("light", 200, 255), ("dark", 1, 80)):
            page = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 1600})
            page.goto(address)
            with Image.open(io.BytesIO(page.screenshot())) as shot:
                shades = np.asarray(shot.convert("L"), np.float64)
            assert shades.std() > 10
            assert darkest < shades.mean() < lightest
        phone = browser.new_page(viewport={"width": 375, "height": 700})
        phone.goto(address)
        assert phone.evaluate("document.documentElement.scrollWidth") <= 375
