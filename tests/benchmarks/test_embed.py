"""The benchmark of embedding runs, and its texts are what it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "embed.py"
spec = importlib.util.spec_from_file_location("benchmark_embed", SCRIPT)
assert spec is not None
assert spec.loader is not None
benchmark = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = benchmark
spec.loader.exec_module(benchmark)


def test_texts_have_realistic_lengths_and_a_third_is_repeated():
    from sightwords.text.encoders import open_encoder

    texts = benchmark.make_texts(600)
    assert len(texts) == 600
    assert len(set(texts)) == 400
    assert texts == benchmark.make_texts(600)
    lengths = np.array(open_encoder("builtin:minilm", "cpu").num_tokens(texts))
    assert (lengths.min(), lengths.max()) == (10, 130)
    assert 35 < np.median(lengths) < 42 < lengths.mean() < 50
    assert np.median(np.diff(lengths)) == pytest.approx(0, abs=3)  # in no order


@pytest.mark.slow
def test_it_runs_and_all_ways_give_the_same_vectors(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["embed.py", "--texts", "12", "--repeats", "1", "--threads", "1"])
    benchmark.main()
    table = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] and "x" in line.split()]
    assert [row[0] for row in table] == ["ours", "fixed", "library"]
    assert all(float(row[-1]) > 0.9999 for row in table)
