"""Image files of several kinds, an open description set, and tiny vision-language models, built once."""

from __future__ import annotations

import pytest
from PIL import Image

from sightwords.descriptions.schema import DescriberInfo, Prompt
from sightwords.descriptions.store import DescriptionSet
from support.images import draw
from support.tiny_vlm import build_llava, build_qwen2_vl, build_smolvlm


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    """Folder of a tiny LLaVA-shaped model."""
    return build_llava(tmp_path_factory.mktemp("models") / "tiny-llava")


@pytest.fixture(scope="session")
def smolvlm(tmp_path_factory):
    """Folder of a tiny SmolVLM-shaped model."""
    return build_smolvlm(tmp_path_factory.mktemp("models") / "tiny-smolvlm")


@pytest.fixture(scope="session")
def qwen2_vl(tmp_path_factory):
    """Folder of a tiny Qwen2-VL-shaped model."""
    return build_qwen2_vl(tmp_path_factory.mktemp("models") / "tiny-qwen2-vl")


@pytest.fixture
def photos(tmp_path):
    """Five distinct images in two classes: JPEG, PNG, gray, transparent, and turned by its EXIF orientation."""
    root = tmp_path / "photos" / "train"
    (root / "red_disc").mkdir(parents=True)
    (root / "bar").mkdir()
    draw("disc", 1, 48).save(root / "red_disc" / "a.png")
    draw("disc", 2, 64).save(root / "red_disc" / "b.jpg", quality=95)
    draw("disc", 3, 40).convert("L").save(root / "red_disc" / "c.png")
    draw("bar", 4, 56).convert("RGBA").save(root / "bar" / "d.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("bar", 5, 60).crop((0, 0, 60, 40)).save(root / "bar" / "e.jpg", exif=exif, quality=95)
    return tmp_path / "photos"


@pytest.fixture
def store(tmp_path):
    """A new description set with one prompt and one describer, both of row id 1."""
    with DescriptionSet(tmp_path / "folder" / "D.db", create=True) as opened:
        opened.add_prompt(Prompt("plain", 1, "Describe this image."))
        opened.add_describer(DescriberInfo("hf:tiny", "tiny", "0f3", {"temperature": 0.5}))
        yield opened
