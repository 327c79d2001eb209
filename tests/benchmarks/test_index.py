"""The benchmark of indexing measures what it says; how fast it is is not judged here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "index.py"
spec = importlib.util.spec_from_file_location("index_benchmark", SCRIPT)
assert spec is not None
assert spec.loader is not None
benchmark = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = benchmark
spec.loader.exec_module(benchmark)


def test_every_way_finds_every_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTWORDS_CACHE", str(tmp_path / "cache"))
    benchmark.make_files(tmp_path / "images", 30, 4)
    assert {name: way(tmp_path / "images") for name, way in benchmark.WAYS.items()} == dict.fromkeys(benchmark.WAYS, 30)
    files = list((tmp_path / "images" / "train").rglob("*.jpg"))
    assert len({file.read_bytes() for file in files}) == 30
    assert {file.stat().st_size for file in files} == {20}


def test_files_of_another_run_are_not_mixed(tmp_path):
    benchmark.make_files(tmp_path, 30, 4)
    benchmark.make_files(tmp_path, 30, 4)
    with pytest.raises(SystemExit, match="something else than 40 files in 4 classes"):
        benchmark.make_files(tmp_path, 40, 4)


def test_the_table_states_ratios():
    def runs(*seconds: float) -> list[dict[str, float]]:
        return [{"seconds": s, "cpu_s": s, "mib": 5, "num_files": 100} for s in seconds]

    found = {"hash": runs(10), "first": runs(12), "second": runs(2, 3, 9), "walk": runs(1), "ImageFolder": runs(5)}
    rows = {line.split()[0]: line.split()[1:] for line in benchmark.table(found).splitlines()[1:]}
    assert rows["first"] == ["12.00", "12.00", "12.00", "120000.00", "5.00", "1.20", "2.00"]
    assert rows["second"][:2] == ["3.00", "2.00"]
    assert rows["second"][-2:] == ["0.30", "0.50"]


@pytest.mark.slow
def test_it_measures_each_way(capsys, tmp_path):
    benchmark.main(["--files", "40", "--classes", "2", "--repeats", "1", "--folder", str(tmp_path / "kept")])
    printed = capsys.readouterr().out
    assert printed.startswith("40 files in 2 folders")
    assert [line.split()[0] for line in printed.splitlines()[2:]] == list(benchmark.WAYS)
