"""The benchmark of growth measures what it says; what grows how is not judged here."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "growth.py"
spec = importlib.util.spec_from_file_location("growth", SCRIPT)
assert spec is not None
assert spec.loader is not None
benchmark = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = benchmark
spec.loader.exec_module(benchmark)


def test_pictures_differ_and_can_be_decoded():
    pictures = [benchmark.png(number) for number in range(300)]
    assert len(set(pictures)) == 300
    assert Image.open(io.BytesIO(pictures[0])).convert("RGB").size == (16, 16)


def test_a_square_is_faster_than_linear_and_a_line_is_not():
    assert "FASTER" in benchmark.verdict([10, 100, 1000], [1, 10, 1000])
    assert "exponent 1.00, at the end 1.00, linear or slower" in benchmark.verdict([10, 100, 1000], [1, 10, 100])


@pytest.mark.slow
def test_it_measures_each_part(capsys, tmp_path):
    sizes = ["--images", "100", "200", "--rows", "100", "200", "--train-images", "0", "--repeats", "1"]
    benchmark.main([*sizes, "--plot", str(tmp_path / "growth.png")])
    printed = capsys.readouterr().out
    for name in (*benchmark.OF_IMAGES, *benchmark.OF_ROWS):
        assert f"\n{name:11}" in "\n" + printed
    assert printed.count("ours / peer") == len(benchmark.PEERS)
    assert Image.open(tmp_path / "growth.png").width > 500
