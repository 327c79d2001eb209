"""The benchmark of searching checks that exact ways agree, and prints a line for each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "search.py"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux")
def test_a_small_index():
    command = [sys.executable, str(BENCHMARK), "--rows", "20000", "--dimension", "64", "--repeats", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    assert "20000 vectors of 64" in lines[1]
    assert [line[:16].strip() for line in lines[3:]] == ["ours", "numpy", "numpy, loaded", "torch, float16"]
    assert all(float(line.split()[-2]) > 0 for line in lines[3:])
