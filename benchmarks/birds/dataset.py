"""Writes the data set of drawn birds: folder/train/SPECIES/000.png, folder/val/SPECIES/000.png and descriptions.csv."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from birds.description import describe_bird
from birds.drawing import draw_bird
from birds.record import make_record
from birds.species import SPECIES
from sightwords.errors import DataError
from sightwords.files import atomic_path, write_text

MARKER = "paper-birds.json"
VERSION = 1  # raise it when the drawing changes, so that a folder is never half of one and half of the other


def write_birds(folder: Path, num_train: int, num_val: int, image_size: int = 96, seed: int = 0) -> None:
    """Draw the data set; the same arguments give the same bytes, and files that are already there are kept.

    Args:
        folder: where to write; new, empty, or holding birds drawn with the same arguments.
        num_train: training images per species.
        num_val: validation images per species.
        image_size: side of the square images, in pixels.
        seed: what all images are drawn from.

    Raises:
        DataError: the folder holds something else.
    """
    settings = {"version": VERSION, "num_train": num_train, "num_val": num_val, "size": image_size, "seed": seed}
    marker = folder / MARKER
    if (
        folder.exists()
        and any(folder.iterdir())
        and not (marker.exists() and json.loads(marker.read_text()) == settings)
    ):
        raise DataError(f"{folder} holds something other than birds drawn with {settings}. Choose another folder.")
    write_text(marker, json.dumps(settings))
    rows = []
    for split, num_images in (("train", num_train), ("val", num_val)):
        for species in SPECIES:
            for index in range(num_images):
                path = folder / split / species / f"{index:03d}.png"
                record = make_record(seed, species, split, index)
                if not path.exists():
                    with atomic_path(path) as partial:
                        # paper grain hardly compresses: a higher level costs time and saves little
                        draw_bird(record, image_size).save(partial, "PNG", compress_level=1)
                if split == "train":
                    rows.append((path.relative_to(folder).as_posix(), describe_bird(record)))
    with atomic_path(folder / "descriptions.csv") as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text"), *rows])
