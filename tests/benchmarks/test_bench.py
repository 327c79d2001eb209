"""The benchmarks of speed run and print their tables; figures are not judged here, where others share the machine."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(name, *options):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def rows(printed):
    """Return the rows of the printed tables by their first cell."""
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    return {line[0]: line[1:] for line in cells}


@pytest.mark.slow
def test_loading():
    found = rows(run("loader", "--image-size", 32, "--images", 64, "--size", 90, 60, "--repeats", 1))
    assert list(found)[2:] == ["timm", "timm, prefetcher", "torchvision", "sightwords", "sightwords, cached"]
    assert all(float(line[0]) > 0 for line in list(found.values())[2:])


@pytest.mark.slow
def test_training_and_evaluation():
    small = ["--model", "test_resnet", "--image-size", 32, "--size", 90, 60, "--repeats", 1]
    found = rows(run("training", *small, "--images", 32, "--batch-size", 16))
    assert {"timm", "torchvision", "sightwords", "sightwords, cached", "compute"} <= found.keys()
    found = rows(run("evaluation", *small, "--images", 16))
    assert {"timm", "sightwords", "loader, timm", "loader, sightwords"} <= found.keys()


@pytest.mark.slow
def test_the_cost_of_alignment():
    printed = run("align_step", "--steps", 1, "--model", "resnet18", "--batch-size", 4, "--image-size", 32)
    ways = [line.split("|")[4].strip() for line in printed.splitlines() if line.startswith("| resnet18")]
    assert ways == ["baseline", "aligned", "aligned, balanced"]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "bench", raising=False)
    import bench

    return bench


def test_every_benchmark_is_in_the_set_and_says_what_it_asks(bench):
    helpers = {"audit", "bench", "pairs", "photos", "scale"}
    assert set(bench.SETS) == {path.stem for path in BENCHMARKS.glob("*.py")} - helpers
    for name in bench.SETS:
        text = ast.get_docstring(ast.parse((BENCHMARKS / f"{name}.py").read_text()))
        assert text.splitlines()[0].endswith(("?", ".", "peer.", "page.")), name


def test_sections_are_replaced_and_the_rest_of_the_page_stays(bench):
    page = f"# Top\n\nintro\n\n{bench.BEGIN}\n\n{bench.END}\n\n# Earlier\n\nold\n"
    first = bench.merge(page, {"a": "## A?\n\none", "b": "## B?\n\ntwo"}, "*day 1*")
    again = bench.merge(first, {"a": "## A?\n\nthree"}, "*day 2*")
    assert again.index("## A?") < again.index("three") < again.index("*day 2*") < again.index("## B?")
    assert "one" not in again
    assert "two" in again
    assert again.startswith("# Top\n\nintro")
    assert again.endswith("# Earlier\n\nold\n")


def test_tables_stay_tables_and_text_becomes_code(bench):
    assert bench._shown("machine\n\n| a |\n| --- |\n\nrest") == "```\nmachine\n```\n\n| a |\n| --- |\n\n```\nrest\n```"
