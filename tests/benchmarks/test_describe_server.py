"""The benchmark of the client runs and measures what it says; how fast it is, is not judged here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "describe_server.py"
spec = importlib.util.spec_from_file_location("describe_server", SCRIPT)
assert spec is not None
assert spec.loader is not None
benchmark = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = benchmark  # dataclasses look their module up by name
spec.loader.exec_module(benchmark)


@pytest.mark.slow
def test_it_compares_and_shows_memory(capsys):
    options = {"images": 20, "requests": 200, "repeats": 1, "memory": 2000, "concurrency": 16, "wait-s": 0.02}
    benchmark.main([f"--{name}={value}" for name, value in options.items()])
    printed = capsys.readouterr().out
    assert "200 requests, 16 at once; at best 800 answers/s" in printed
    assert "describe / bare: " in printed
    assert "describe / sdk: " in printed
    assert "growth from " in printed
    assert "memory over 2000 requests" in printed


def test_the_server_waits_as_long_as_it_says(tmp_path):
    benchmark.write_images(tmp_path, 2, 10_000)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert len({file.read_bytes() for file in files}) == 2
    assert all(8_000 < file.stat().st_size < 12_000 for file in files)
    with benchmark.running_server(0.1) as url:
        for client in (benchmark.bare, benchmark.sdk):
            timing = client(files, url, 40, 4)
            assert 25 < timing.whole < 40  # 40 at best: four at once, 100 ms each
        assert benchmark.count(url) == 80


def test_steady_leaves_out_start_and_end():
    ends_s = [10.0 + i for i in range(20)] + [30.0 + 0.1 * i for i in range(80)]
    timing = benchmark.timing(0.0, ends_s, 50.0, 1.0)
    assert timing.steady == pytest.approx(10, rel=0.01)
    assert timing.whole == 2
    assert timing.cpu_us == 10_000
