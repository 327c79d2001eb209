from __future__ import annotations

import pytest

from sightwords.demonstration import demo as module
from sightwords.demonstration.config import DemoConfig
from sightwords.demonstration.demo import demo


@pytest.mark.slow
def test_the_demo_runs_the_pipeline_and_a_second_run_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "IMAGE_SIZE", 32)
    config = DemoConfig(out=tmp_path / "demo", epochs=1, workers=0)
    first = demo(config)
    assert [row.title for row in first.rows] == ["no labels", "half of the labels wrong", "all labels"]
    assert first.num_val == 290
    for row in first.rows:
        plain = first.rows[-1].plain if row.plain is None else row.plain
        assert row.interval[0] <= row.text - plain <= row.interval[1]
        assert row.gain == pytest.approx(row.text - plain)
    assert first.rows[0].plain is None
    assert first.labeling == (pytest.approx(0.9, abs=0.05), pytest.approx(first.labeling[0], abs=0.05))
    summary = first.summary()
    assert all(word in summary for word in ("no labels", "impossible", "intervals are over images", str(first.page)))
    shown = first.page.read_text()
    assert shown.count("data:image/jpeg") == 2 * len(list((config.out / "images" / "train").iterdir()))
    assert (config.out / "network.safetensors").is_file()
    runs = sorted((config.out / "runs").iterdir())
    assert len(runs) == 5
    assert all((run / "model.safetensors").is_file() for run in runs)
    stamps = {p: p.stat().st_mtime_ns for p in (config.out / "runs").rglob("step-*.pt")}
    second = demo(config)
    assert {p: p.stat().st_mtime_ns for p in (config.out / "runs").rglob("step-*.pt")} == stamps
    assert second.rows == first.rows
