"""Every command in a bash block of README and docs runs as printed, and every Python snippet, on small drawn images.

Only what cannot be had here is replaced, and the replacements are listed: the hub model and the server by a tiny
vision-language model on disk, the network and the number of epochs by small ones.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import sightwords
from sightwords.align import AlignmentHead
from sightwords.cli import app
from support.images import write_class_folders
from support.tiny_vlm import build_llava

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"<!-- test: (\w+) -->\n```(\w+)\n(.*?)```", re.DOTALL)


def blocks(name: str, page: str = "README.md") -> list[str]:
    return [code for label, _, code in BLOCK.findall((ROOT / page).read_text()) if label == name]


def one_line(block: str) -> str:
    """Return a block with the lines joined that a backslash continues."""
    return re.sub(r"\\\n\s*", "", block)


def replaced(code: str, folder: Path) -> str:
    """Return the code with what cannot be had in a test replaced by something small and real."""
    code = re.sub(r"server:\S+", f"hf:{folder / 'tiny'}", code)
    code = re.sub(r"describe photos (?=--out|--split)", f"describe photos --describer hf:{folder / 'tiny'} ", code)
    return (
        code.replace("resnet50", "resnet10t")
        .replace("--seeds 2", "--seeds 1")
        .replace("--epochs 100", "--epochs 2 --batch-size 8 --image-size 32 --workers 0")
        .replace("epochs=100", "epochs=1, batch_size=8, image_size=32")
    )


def run(line: str):
    """Run a command as the command line does and return its result."""
    program, *words = shlex.split(line, comments=True)
    assert program == "sightwords"
    return app(words, exit_on_error=False, print_error=False)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A folder in which the tutorial's commands were run, and those of the README that it does not have."""
    folder = tmp_path_factory.mktemp("session")
    write_class_folders(folder / "photos", num_train=6, num_val=2)
    build_llava(folder / "tiny")
    (folder / "names.csv").write_text("id,name\nbar,bar\ndisc,disc\nsquare,square\n")
    printed = [*blocks("tutorial", "docs/tutorial.md"), *blocks("session")]
    lines = [line for code in printed for line in replaced(one_line(code), folder).splitlines() if line.strip()]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SIGHTWORDS_CACHE", str(folder / "cache"))
        results = {line: run(line) for line in dict.fromkeys(lines)}
    assert len(results) == 10
    return folder, results


@pytest.mark.slow
def test_the_session_works_and_each_command_says_what_follows(session):
    folder, results = session
    assert (folder / "network.safetensors").stat().st_size > 1e6
    for command, result in results.items():
        assert "rote " in result.summary(), command
        if "export" not in command and "pilot" not in command:
            assert result.next_command.startswith("sightwords "), command


@pytest.mark.slow
@pytest.mark.parametrize("name", ["load", "python"])
def test_python_snippets_of_the_session(session, name, monkeypatch):
    monkeypatch.chdir(session[0])
    for code in blocks(name):
        exec(replaced(code, session[0]), {})


@pytest.mark.slow
def test_the_loop_of_ones_own(session, monkeypatch):
    folder, _ = session
    monkeypatch.chdir(folder)
    model = timm.create_model("test_resnet", num_classes=3)
    scope = {"sightwords": sightwords, "torch": torch, "AlignmentHead": AlignmentHead, "model": model}
    scope |= {"files": sorted((folder / "photos/train").rglob("*.png")), "rows": [0, 5, 7]}
    scope |= {"cross_entropy": F.cross_entropy, "images": torch.randn(3, 3, 32, 32), "labels": torch.tensor([0, 1, 2])}
    (code,) = blocks("loop", "docs/loops.md")
    exec(code, scope)
    scope["loss"].backward()
    assert scope["vectors"].shape == (3, 384)
    assert scope["hook"].features.shape == (3, model.num_features)


def test_the_hook_on_a_detector():
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.ModuleDict({"body": nn.Conv2d(3, 8, 3)})

        def forward(self, images, targets):
            return {"loss": self.backbone["body"](images).mean()}

    scope = {"FeatureHook": sightwords.FeatureHook, "AlignmentHead": AlignmentHead, "detector": Detector()}
    scope |= {"hook_width": 8, "images": torch.randn(4, 3, 9, 11), "targets": None, "text": torch.randn(4, 384)}
    (code,) = blocks("hook", "docs/features.md")
    exec(code, scope)
    scope["alignment"].backward()
    assert scope["detector"].backbone["body"].weight.grad.abs().sum() > 0


def test_the_head_alone():
    (code,) = blocks("head")
    scope = {}
    exec(code, scope)
    assert scope["features"].grad.abs().sum() > 0


def test_every_link_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_options_named_in_docs_exist():
    helps = (ROOT / "docs/reference/commands.md").read_text()  # test_site.py holds it to the code
    known = set(re.findall(r"--[a-z][\w.-]*", helps)) | {"--config", "--help", "--help-all", "--nproc-per-node"}
    known |= {"--head", "--address"}  # of `ray start`
    known |= {"--nnodes", "--rdzv-backend", "--rdzv-endpoint"}  # of torchrun
    for script in (ROOT / "benchmarks").rglob("*.py"):
        known |= set(re.findall(r"add_argument\(\s*\"(--[a-z][\w-]*)", script.read_text()))
    for page in PAGES:
        for option in re.findall(r"(?<![\w-])--[a-z][\w.-]*", page.read_text()):
            named = option.rstrip(".")
            assert named in known or any(named.startswith(k + ".") for k in known), f"{page.name}: {named}"


NOT_RUN_HERE = {
    "sightwords browse": "a server that ends with Ctrl-C: tests/browsing/test_page.py runs it",
    "HF_TOKEN=... sightwords export": "an upload to the hub: tests/exporting/test_upload.py has a server for it",
    "pip install": "tests/packaging/test_wheel.py installs",
}
FILES = {
    "val/wren/3.jpg": "val/disc/000.png",
    "val/lark/7.jpg": "val/bar/001.png",
    "photo.jpg": "photos/val/disc/001.png",
}


def command_lines(page: Path) -> list[str]:
    """Return every command in a bash block of a page, each in one line."""
    blocks_of_page = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line for block in blocks_of_page for line in one_line(block).splitlines()]
    return [line for line in lines if line.strip() and not line.startswith(tuple(NOT_RUN_HERE))]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if command_lines(page)], ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(session, page, monkeypatch):
    folder, results = session
    monkeypatch.chdir(folder)
    for line in command_lines(page):
        wanted = replaced(line, folder)
        for name, drawn in FILES.items():
            wanted = wanted.replace(name, drawn)
        assert wanted in results or run(wanted).summary().strip()
