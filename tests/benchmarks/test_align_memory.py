from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "align_memory.py"


@pytest.mark.slow
def test_a_large_batch_never_holds_a_matrix_of_pairs():
    command = [sys.executable, str(BENCHMARK), "--rows", "8000", "--dimension", "16", "--losses", "plain", "clip"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    matrices = {line.split()[0]: float(line.split()[2]) for line in done.stdout.splitlines()[2:]}
    assert matrices["plain"] > 3
    assert matrices["clip"] < 0.5 * matrices["plain"]  # about 1: a few parts of 34 MiB each
