from __future__ import annotations

import pytest
from PIL import Image

from sightwords.demonstration.config import DemoConfig
from sightwords.demonstration.demo import demo, write_sheet


@pytest.mark.slow
def test_the_demo_runs_the_pipeline_and_a_second_run_trains_nothing(tmp_path):
    config = DemoConfig(out=tmp_path / "demo", epochs=1, workers=0)
    first = demo(config)
    assert [row.title for row in first.comparisons] == ["all labels", "half of the labels wrong", "one label in ten"]
    assert first.num_val == 290
    for row in first.comparisons:
        assert row.interval[0] <= row.aligned - row.baseline <= row.interval[1]
    summary = first.summary()
    assert all(word in summary for word in ("one label in ten", "intervals are over images", str(first.sheet)))
    with Image.open(first.sheet) as sheet:
        assert sheet.size[0] > 1000
    runs = sorted((config.out / "runs").iterdir())
    assert len(runs) == 6
    assert all((run / "model.safetensors").is_file() for run in runs)
    stamps = {p: p.stat().st_mtime_ns for p in (config.out / "runs").rglob("step-*.pt")}
    second = demo(config)
    assert {p: p.stat().st_mtime_ns for p in (config.out / "runs").rglob("step-*.pt")} == stamps
    assert second.comparisons == first.comparisons


def test_a_contact_sheet_holds_every_image(tmp_path):
    files = []
    for i, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]):
        files.append(tmp_path / f"{i}.png")
        Image.new("RGB", (96, 96), color).save(files[-1])
    write_sheet(tmp_path / "sheet.png", [(file, file.stem, "a word " * 40) for file in files], "Title")
    with Image.open(tmp_path / "sheet.png") as sheet:
        shown = {color for _, color in sheet.convert("RGB").getcolors(10**6)}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)} <= shown
