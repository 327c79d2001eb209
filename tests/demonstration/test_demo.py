from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from sightwords.demonstration.config import DemoConfig
from sightwords.demonstration.demo import _half_width
from sightwords.demonstration.demo import demo as run
from sightwords.demonstration.sheet import write_sheet
from sightwords.demonstration.species import SPECIES


@pytest.mark.slow
def test_the_demo_runs_every_stage_and_a_second_run_trains_nothing(tmp_path, capsys):
    config = DemoConfig(out=tmp_path / "demo", num_train=3, num_val=1, epochs=1, workers=0)
    result = run(config)
    assert [c.title.split()[0] for c in result.comparisons] == ["ResNet-10-T", "ViT,"]
    assert result.num_train == 3 * len(SPECIES)
    assert "the drawing's own record" in result.summary()
    with Image.open(result.sheet) as sheet:
        assert sheet.size[0] > 1000
    for path in (config.out / "runs").iterdir():
        assert (path / "model.safetensors").is_file()
    stamps = {p: p.stat().st_mtime_ns for p in (config.out / "runs").rglob("step-*.pt")}
    again = run(replace(config))
    assert {p: p.stat().st_mtime_ns for p in (config.out / "runs").rglob("step-*.pt")} == stamps
    assert [c.aligned for c in again.comparisons] == [c.aligned for c in result.comparisons]


def test_the_interval_of_paired_differences():
    assert _half_width([1, -1] * 50) == pytest.approx(1.96 * (100 / 99) ** 0.5 / 10)
    assert _half_width([0] * 10) == 0


def test_a_contact_sheet_holds_every_picture(tmp_path):
    files = []
    for i, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]):
        files.append(tmp_path / f"{i}.png")
        Image.new("RGB", (96, 96), color).save(files[-1])
    write_sheet(tmp_path / "sheet.png", [(file, file.stem, "a word " * 40) for file in files], "Title")
    with Image.open(tmp_path / "sheet.png") as sheet:
        shown = {color for _, color in sheet.convert("RGB").getcolors(10**6)}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)} <= shown
