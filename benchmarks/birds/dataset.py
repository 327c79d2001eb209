"""Writes the data set of drawn birds: folder/train/SPECIES/000.png, folder/val/SPECIES/000.png and descriptions.csv."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from birds.description import describe_bird
from birds.drawing import draw_bird
from birds.record import BirdRecord, make_record
from birds.species import SPECIES
from sightwords.errors import ConfigError, DataError
from sightwords.files import atomic_path

STYLE = "short"  # the parts that tell species apart
MARKER = "paper-birds.json"
VERSION = 1  # raise it when the drawing changes, so that a folder is never half of one and half of the other
MIN_IMAGE_SIZE = 16


def write_birds(
    folder: Path,
    num_train: int,
    num_val: int,
    image_size: int = 96,
    seed: int = 0,
) -> None:
    """Draw the data set; the same arguments give the same bytes, and files that are already there are kept.

    Args:
        folder: where to write; new, empty, or holding birds drawn with the same arguments.
        num_train: training images per species.
        num_val: validation images per species.
        image_size: side of the square images, in pixels.
        seed: what all images are drawn from.

    Raises:
        ConfigError: a number is out of range.
        DataError: the folder holds something else.
    """
    if min(num_train, num_val) < 0 or image_size < MIN_IMAGE_SIZE:
        raise ConfigError(
            f"Cannot draw {num_train} training and {num_val} validation images per species at {image_size} pixels: "
            f"the counts must be 0 or more, the image size {MIN_IMAGE_SIZE} or more."
        )
    _claim(folder, {"version": VERSION, "num_train": num_train, "num_val": num_val, "size": image_size, "seed": seed})
    rows = []
    for split, num_images in (("train", num_train), ("val", num_val)):
        for species in SPECIES:
            (folder / split / species).mkdir(parents=True, exist_ok=True)
            for index in range(num_images):
                path = folder / split / species / f"{index:03d}.png"
                record = make_record(seed, species, split, index)
                if not path.exists():
                    _replace(path, encode_bird(record, image_size))
                if split == "train":
                    rows.append((path.relative_to(folder).as_posix(), describe_bird(record, STYLE)))
    with atomic_path(folder / "descriptions.csv") as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text"), *rows])


def encode_bird(record: BirdRecord, image_size: int) -> bytes:
    """Return the PNG file of a record."""
    buffer = io.BytesIO()
    # paper grain hardly compresses: a higher level costs time and saves little
    draw_bird(record, image_size).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _claim(folder: Path, arguments: dict[str, int]) -> None:
    """Mark a folder with what it is drawn with, so that two data sets never mix in one."""
    marker = folder / MARKER
    if marker.exists():
        found = marker.read_text()
        if found != json.dumps(arguments):
            raise DataError(
                f"{folder} holds paper birds drawn with {found}, not with {json.dumps(arguments)}. "
                "Choose another folder, or delete this one."
            )
        return
    for split in ("train", "val"):
        if (folder / split).exists():
            raise DataError(f"{folder / split} exists and holds no paper birds. Choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    _replace(marker, json.dumps(arguments).encode())


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; a kill leaves at most a `.partial` file, which the next run overwrites."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
