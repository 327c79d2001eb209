"""The benchmark of the text's memory measures what it says; small enough to run anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "text_memory.py"
OPTIONS = "--rows 20000 --dimension 512 --workers 1 --epochs 1 --steps 4 --repeats 1 --peer-share 1"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="needs Linux")
def test_the_text_is_mapped_where_the_peer_holds_it():
    command = [sys.executable, str(BENCHMARK), *OPTIONS.split()]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    workers, epoch, process, loader, _, peer, ratio = map(float, done.stdout.splitlines()[-1].split())
    assert (workers, epoch) == (1, 1)
    assert peer > 35  # 20,000 x 512 x 4 bytes
    assert process < 0.5 * peer
    assert ratio < 0.5
    assert loader < 10
