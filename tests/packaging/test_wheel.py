"""The wheel works beside the core's libraries alone, and names the extra where more is needed.

The environment is made of links to the libraries that pip would install for the core, as the metadata of what is
installed here tell, so that no gigabytes are fetched; the wheel itself is installed by pip.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.images import write_class_folders

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def needed(name: str, extras: frozenset[str] = frozenset(), seen: dict[tuple, Distribution] | None = None) -> list:
    """Return the distributions that pip would install with this one, itself left out."""
    seen = {} if seen is None else seen
    found = distribution(name)
    for text in found.requires or []:
        requirement = Requirement(text)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (extras or {""})
        )
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if wanted and key not in seen:
            seen[key] = distribution(requirement.name)
            needed(*key, seen)
    return list(seen.values())


def link(library: Distribution, site: Path) -> None:
    """Make a library visible in `site`; namespace packages (nvidia) are merged."""
    for file in library.files or []:
        source = Path(str(library.locate_file(file)))
        if ".." in file.parts or not source.exists():
            continue
        if file.parts[0] == "nvidia":
            place = site / file
            place.parent.mkdir(parents=True, exist_ok=True)
        else:
            place, source = site / file.parts[0], Path(str(library.locate_file(file.parts[0])))
        if not place.exists() and not place.is_symlink():
            place.symlink_to(source)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def core(wheel, tmp_path_factory):
    """A function that runs the command line of the wheel where nothing but the core's libraries is installed."""
    folder = tmp_path_factory.mktemp("core")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    for library in needed("sightwords"):
        link(library, site)
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SIGHTWORDS"))}
    subprocess.run(install, check=True, capture_output=True, env=env)
    write_class_folders(folder / "photos", num_train=4, num_val=2)
    env["SIGHTWORDS_CACHE"] = str(folder / "cache")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(python.parent / "sightwords"), *arguments]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)

    run.folder = folder
    assert run("describe", "photos", "--describer", "class_name", "--out", "names.db").returncode == 0
    return run


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "sightwords/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sightwords"}
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/sightwords").rglob("*.py")}
    assert sources <= set(names)
    templates = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/sightwords").rglob("*.jinja")}
    assert templates <= set(names)


def test_the_core_trains_and_exports(core):
    options = ["--model", "test_resnet", "--image-size", "32", "--batch-size", "4", "--epochs", "1", "--workers", "0"]
    done = core("train", "photos", *options, "--out", "run")
    assert done.returncode == 0, done.stderr
    done = core("export", "run", "--out", "network.safetensors")
    assert done.returncode == 0, done.stderr
    assert (core.folder / "network.safetensors").exists()


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("describe", "describe photos --describer hf:some/model --out a.db"),
        ("server", "describe photos --describer server:some@http://localhost:1 --out b.db"),
        ("minilm", "embed names.db --encoder builtin:minilm --out e1"),
        ("st", "embed names.db --encoder st:some/model --out e2"),
        ("openclip", "embed names.db --encoder openclip:RN50/openai --out e3"),
        ("ray", "describe photos --describer demo --engine ray --out c.db"),
        ("report", "compare photos --embeddings nowhere --models test_resnet --out comparison"),
    ],
)
def test_a_missing_extra_is_named_and_nothing_is_left(core, extra, command):
    before = sorted(path.name for path in core.folder.iterdir())
    done = core(*command.split())
    assert done.returncode == 2
    assert f'pip install "sightwords[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in core.folder.iterdir()) == before
