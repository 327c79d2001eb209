"""The site builds without a warning, every page can be found in it, and the reference is that of the code."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference():
    """The script that writes the reference."""
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "scripts" / "write_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands.md", "python.md"])
def test_the_reference_is_that_of_the_code(reference, name):
    written = (ROOT / "docs" / "reference" / name).read_text()
    assert reference.PAGES[name]() == written, "the code has changed: python scripts/write_reference.py"


def pages_of(nav) -> set[str]:
    """Return the pages that a navigation leads to, at any depth."""
    if isinstance(nav, str):
        return {nav}
    values = nav.values() if isinstance(nav, dict) else nav
    return set().union(*map(pages_of, values))


def test_the_navigation_leads_to_every_page():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert pages_of(nav) == pages


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a folder that holds mkdocs.yml, docs and src."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    done = build(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "reference" / "python" / "index.html").read_text()
    assert "Train a network." in page  # docstrings are filled in
    assert not [path for path in (tmp_path / "site").rglob("*.html") if "fonts.googleapis" in path.read_text()]


@pytest.mark.slow
def test_a_link_to_nowhere_is_noticed(tmp_path):
    (tmp_path / "mkdocs.yml").write_text("site_name: One page\n")
    (tmp_path / "docs").mkdir()
    for text, status in (("# Here\n", 0), ("# Here\n\n[nowhere](missing.md)\n", 1)):
        (tmp_path / "docs" / "index.md").write_text(text)
        assert build(tmp_path).returncode == status
