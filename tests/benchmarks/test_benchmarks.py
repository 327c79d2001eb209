"""Every benchmark runs small and prints its rows; how fast anything is, is not judged beside other tests."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from support.texts import write_vectors

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = "--model test_resnet --image-size 32 --size 90 60 --repeats 1"
ROWS = {
    "loader --image-size 32 --images 64 --size 90 60 --repeats 1": (
        "timm", "timm, prefetcher", "torchvision", "sightwords", "sightwords, cached",
    ),
    f"training {SMALL} --images 32 --batch-size 16": (
        "timm", "torchvision", "sightwords", "sightwords, cached", "compute",
    ),
    f"evaluation {SMALL} --images 16": ("timm", "sightwords", "loader, timm", "loader, sightwords"),
    "align_step --steps 1 --model resnet18 --batch-size 4 --image-size 32": (
        "resnet18 | 32 | 4 | baseline", "resnet18 | 32 | 4 | aligned", "resnet18 | 32 | 4 | aligned, balanced",
    ),
    "embed --texts 12 --repeats 1 --threads 1": ("ours", "fixed", "library"),
    "describe_server --images 20 --requests 60 --repeats 1 --memory 300 --concurrency 16 --wait-s 0.02": (
        "describe / bare:", "describe / sdk:", "growth from",
    ),
    "describe_local --small --images 5 --batch-size 2 --max-new-tokens 3 --repeats 1 --device cpu": (
        "bare", "describer", "describe",
    ),
    "scale --rows 500 --files 200 --images 0": (
        "description set of 500 rows:", "merge of two sets of 500 rows:", "images, second listing of 200 tiny files:",
        "planning the vectors of 500 texts:",
    ),
    "index --files 40 --classes 2 --repeats 1": ("hash", "first", "second", "walk", "ImageFolder"),
    "search --rows 20000 --dimension 64 --repeats 1": ("ours", "numpy", "numpy, loaded", "torch, float16"),
    "start --repeats 1 --warm-up 0 --parts import": ("ours", "import timm"),
    "browse --rows 3000 --classes 5 --repeats 1": ("index:", "first 2,000 descriptions indexed"),
}  # fmt: skip


@pytest.fixture
def run(monkeypatch, capfd):
    """Return what a benchmark prints; what it sets in this process is taken back."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def run(line: str) -> str:
        name, *options = line.split()
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *options])
        runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        return capfd.readouterr().out

    return run


def assert_rows(printed: str, names: tuple[str, ...]) -> None:
    for name in names:
        assert re.search(rf"^[| ]*{re.escape(name)}\W.*\d", printed, re.MULTILINE), f"no row {name}:\n{printed}"


@pytest.mark.slow
@pytest.mark.parametrize("line", ROWS, ids=lambda line: line.split()[0])
def test_it_prints_its_rows(run, line):
    assert_rows(run(line), ROWS[line])


@pytest.mark.slow
def test_growth_draws_what_it_measured(run, tmp_path):
    printed = run(f"growth --images 100 --rows 100 --train-images 0 --repeats 1 --plot {tmp_path / 'g.png'}")
    assert printed.count("ours / peer") == 4
    assert Image.open(tmp_path / "g.png").width > 500


@pytest.mark.slow
def test_the_audit_finds_what_was_swapped(run, images, tmp_path):
    train = open_dataset(ImagesConfig(str(images)), show=False).split("train")
    vectors = write_vectors(tmp_path / "E", train)
    printed = run(f"audit {images} --embeddings {vectors} --share 0.1 --seeds 2")
    assert_rows(printed, ("10% of the labels swapped: 2", "average precision", "precision at the share, chance"))


@pytest.mark.slow
def test_a_large_batch_never_holds_a_matrix_of_pairs(run):
    printed = run("align_memory --rows 8000 --dimension 16 --losses plain clip")
    matrices = {line.split()[0]: float(line.split()[2]) for line in printed.splitlines()[2:]}
    assert matrices["plain"] > 3
    assert matrices["clip"] < 0.5 * matrices["plain"]  # about 1: a few parts of 34 MiB each


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="needs Linux")
def test_the_text_is_mapped_where_the_peer_holds_it(run):
    small = "--rows 20000 --dimension 512 --workers 1 --epochs 1 --steps 4 --repeats 1 --peer-share 1"
    _, _, process, loader, _, peer, ratio = map(float, run(f"text_memory {small}").splitlines()[-1].split())
    assert peer > 35  # 20,000 x 512 x 4 bytes
    assert process < 0.5 * peer
    assert ratio < 0.5
    assert loader < 10


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "bench", raising=False)
    import bench

    return bench


def test_every_benchmark_is_in_the_set_and_says_what_it_asks(bench):
    assert set(bench.SETS) == {path.stem for path in BENCHMARKS.glob("*.py")} - {
        "audit", "bench", "labels", "pairs", "photos", "scale",
    }  # fmt: skip
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
