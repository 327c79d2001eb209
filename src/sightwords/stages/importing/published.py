"""The authors' published list: a torch file of strings in torchvision ImageFolder order of the training images.

The order of files is a weak join: one file more or less shifts every text after it. So the list is refused unless
its length fits, and is joined to keys here, once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from sightwords.data.key import Member
from sightwords.data.key_cache import KeyCache
from sightwords.data.sources.listing import SPLIT_NAMES
from sightwords.errors import ArtifactError, ConfigError
from sightwords.progress import Progress
from sightwords.stages.importing.config import ImportConfig
from sightwords.stages.importing.row import Row, Rows

LIST_SUFFIXES = (".pt", ".pth")
# torchvision.datasets.folder.IMG_EXTENSIONS: the list's order counts these files and no others
IMAGE_FOLDER_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def read_published(config: ImportConfig) -> Rows:
    """Read a list of strings and join it to the keys of the folder's images.

    Raises:
        ArtifactError: the file holds anything but a list of strings, or as many of them as the folder has images.
        ConfigError: the images are not a folder.
    """
    split: Literal["train", "val"] = "val" if config.split == "val" else "train"
    folder = _folder(config, split)
    texts = load_list(config.source)
    files = image_folder_files(folder)
    if len(texts) != len(files):
        raise ArtifactError(
            f"{config.source} holds {len(texts)} texts, but {folder} has {len(files)} image files. The list goes by "
            "the order of the files, so both must be equal: use the very folder that it was made for, unchanged."
        )
    with Progress("Hashing", len(files), "images") as progress:
        keys, _ = KeyCache().keys([Member(file, file) for file in files], progress.advance)
    found = Rows()
    prompt, describer = found.prompt(config.prompt), found.describer(config.describer_name)
    for file, key, text in zip(files, keys, texts, strict=True):
        found.add(Row(key or file, text.strip(), prompt, describer))  # a file that cannot be read matches no image
    return found


def load_list(source: Path) -> list[str]:
    """Return the strings of a torch file, without running any code that it might hold.

    Raises:
        ArtifactError: the file is missing, damaged, or holds anything but a list of strings.
    """
    import torch

    if not source.is_file():
        raise ArtifactError(f"There is no file {source}. Name the published list of descriptions.")
    try:
        texts = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged or hostile bytes can raise anything
        first = str(error).strip().partition("\n")[0]
        raise ArtifactError(f"{source} cannot be loaded as a torch file of plain data: {first}") from None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ArtifactError(f"{source} holds {_kind(texts)}; a list of strings is expected.")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise ArtifactError(f"{source} holds a text that is not valid Unicode: {error}") from None
    return texts


def image_folder_files(folder: Path) -> list[str]:
    """Return the image files below the class folders in the order of torchvision.datasets.ImageFolder."""
    files: list[str] = []
    for name in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
        # sorted by the parent's path as a whole, as torchvision does: a walk with sorted folders is another order
        for parent, _, names in sorted(os.walk(folder / name, followlinks=True)):
            files += [f"{parent}/{file}" for file in sorted(names) if file.lower().endswith(IMAGE_FOLDER_SUFFIXES)]
    return files


def _folder(config: ImportConfig, split: Literal["train", "val"]) -> Path:
    """Return the folder whose subfolders are the classes of a split."""
    own: str | None = getattr(config, split)
    root = Path(own or config.images or "")
    if not (own or config.images) or not root.is_dir():
        raise ConfigError(
            f"{config.source} goes by the order of files, so it needs a folder of {split} images "
            f"(CLASS/*.jpg) as --images or --{split}; {own or config.images or 'nothing'} came."
        )
    if own:
        return root
    named = {SPLIT_NAMES.get(child.name.lower()): child for child in sorted(root.iterdir()) if child.is_dir()}
    return named.get(split, root)


def _kind(value: object) -> str:
    if isinstance(value, list):
        return f"a list with {next(type(one).__name__ for one in value if not isinstance(one, str))} in it"
    return f"a {type(value).__name__}"
