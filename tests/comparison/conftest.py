from __future__ import annotations

import pytest

import sightwords
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.images.keys import image_keys
from support.images import write_class_folders

COLORS = ("red", "green", "blue", "gray")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of three classes, 8 training and 4 validation images each; tests must not change it."""
    return write_class_folders(tmp_path_factory.mktemp("data") / "images", num_train=8, num_val=4)


@pytest.fixture(scope="module")
def described(images):
    """Description set of the training images: color, shape and number."""
    files = sorted((images / "train").rglob("*.png"))
    with DescriptionSet(images.parent / "D.db", create=True) as store:
        prompt, describer = store.add_prompt(Prompt("plain", 1, "Describe.")), store.add_describer(
            DescriberInfo("hf:test", "test")
        )  # fmt: skip
        for number, (file, key) in enumerate(zip(files, image_keys(files), strict=True)):
            text = f"A {COLORS[number % 4]} {file.parent.name}, number {number}."
            store.add_images([(key, str(file.relative_to(images)), file.parent.name)])
            store.put([Description(key, prompt, describer, 0, text)])
    return images.parent / "D.db"


@pytest.fixture(scope="module")
def embeddings(described):
    """Embedding set of these descriptions, by the encoder whose weights come from the package index."""
    out = described.with_name("embeddings")
    sightwords.embed(sightwords.EmbedConfig(described, encoder="builtin:minilm", out=out))
    return out
