"""A tiny network that was really taught by text: images, descriptions, their vectors, and the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.images.keys import image_keys
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import embed
from sightwords.training.config import AlignConfig, TrainConfig
from sightwords.training.run import train
from support.images import write_class_folders

TEXTS = {"disc": "a round red stone", "square": "a green leaf on water", "bar": "a long blue tail"}


@dataclass(frozen=True)
class AlignedRun:
    """Where everything is."""

    images: Path
    descriptions: Path
    embeddings: Path
    run: Path


def write_descriptions(images: Path, path: Path, splits: tuple[str, ...] = ("train",)) -> Path:
    """Describe every image by its class's sentence."""
    with DescriptionSet(path, create=True) as store:
        prompt, describer = store.add_prompt(Prompt("plain", 1, "Describe.")), store.add_describer(
            DescriberInfo("hf:test", "test")
        )  # fmt: skip
        files = [file for split in splits for file in sorted((images / split).rglob("*.png"))]
        for file, key in zip(files, image_keys(files), strict=True):
            store.add_images([(key, str(file.relative_to(images)), file.parent.name)])
            store.put([Description(key, prompt, describer, 0, TEXTS.get(file.parent.name, "a cat"))])
    return path


def make_aligned_run(folder: Path, encoder: Path) -> AlignedRun:
    """Draw, describe, embed and train."""
    images = write_class_folders(folder / "images", num_train=16, num_val=6)
    descriptions = write_descriptions(images, folder / "D.db")
    embed(EmbedConfig(descriptions, out=folder / "E", encoder=f"st:{encoder}", device="cpu", precision="fp32"))
    config = TrainConfig(
        str(images), embeddings=[folder / "E"], out=folder / "run", model="test_resnet", image_size=32, epochs=8,
        batch_size=16, lr=3e-3, warmup_epochs=0, workers=0, device="cpu", eval_every=8,
        align=AlignConfig(loss="label_clip", targets="centered"),
    )  # fmt: skip
    train(config)
    return AlignedRun(images, descriptions, folder / "E", folder / "run")
