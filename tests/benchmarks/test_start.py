"""The benchmark of starting measures what it says; how fast the machine is is not judged here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "start.py"


def figures(*parts):
    command = [sys.executable, str(BENCHMARK), "--repeats", "1", "--warm-up", "0", "--parts", *parts]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^  (\S.*?) +([\d.]+) s +([\d.]+) s processor   / peer: ([\d.]+), ", printed, re.MULTILINE)
    return {name: (float(seconds), float(ratio)) for name, seconds, _, ratio in found}


@pytest.mark.slow
def test_importing_and_helping_load_no_network_library():
    assert list(figures("import", "help")) == ["ours", "import timm", "timm help"]
    code = "import sys, sightwords.cli as c\ntry: c.app.meta(['--help'])\nexcept SystemExit: pass\n"
    code += "print([n for n in ('torch', 'timm', 'torchvision', 'numpy', 'pyarrow') if n in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_the_first_step_is_reached():
    found = figures("step")
    assert list(found) == ["ours", "timm help", "torch, timm", "torch alone"]
    assert found["timm help"][1] == 1
