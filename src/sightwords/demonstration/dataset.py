"""Writes the data set of paper birds: folder/train/SPECIES/000.png and folder/val/SPECIES/000.png.

Each file carries what was drawn in two text chunks of its own (PNG): the record, and the finished descriptions, so
that whoever has the bytes can read them with Pillow and json alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from sightwords.demonstration.description import STYLES, describe_bird
from sightwords.demonstration.drawing import draw_bird
from sightwords.demonstration.record import BirdRecord, make_record
from sightwords.demonstration.species import SPECIES
from sightwords.errors import ConfigError, DataError

RECORD_CHUNK = "sightwords:record"
DESCRIPTION_CHUNK = "sightwords:description"
MARKER = "paper-birds.json"
VERSION = 1  # raise it when the drawing changes, so that a folder is never half of one and half of the other
MIN_IMAGE_SIZE = 16


def write_birds(
    folder: Path,
    num_train: int,
    num_val: int,
    image_size: int = 96,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Draw the data set; the same arguments give the same bytes, and files that are already there are kept.

    Args:
        folder: where to write; new, empty, or holding birds drawn with the same arguments.
        num_train: training images per species.
        num_val: validation images per species.
        image_size: side of the square images, in pixels.
        seed: what all images are drawn from.
        progress: called with 1 after each image, also for one that was already there.

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
    for split, num_images in (("train", num_train), ("val", num_val)):
        for species in SPECIES:
            (folder / split / species).mkdir(parents=True, exist_ok=True)
            for index in range(num_images):
                path = folder / split / species / f"{index:03d}.png"
                if not path.exists():
                    _replace(path, encode_bird(make_record(seed, species, split, index), image_size))
                if progress is not None:
                    progress(1)


def encode_bird(record: BirdRecord, image_size: int) -> bytes:
    """Return the PNG file of a record, with the record and its descriptions inside."""
    info = PngInfo()
    info.add_text(RECORD_CHUNK, record.to_json())
    info.add_text(DESCRIPTION_CHUNK, json.dumps({style: describe_bird(record, style) for style in STYLES}))
    buffer = io.BytesIO()
    # paper grain hardly compresses: a higher level costs time and saves little
    draw_bird(record, image_size).save(buffer, "PNG", pnginfo=info, compress_level=1)
    return buffer.getvalue()


def read_record(image_bytes: bytes) -> BirdRecord:
    """Return what was drawn in an image of this data set, from its file's bytes.

    Raises:
        DataError: the bytes are no image, or an image that `write_birds` did not write.
    """
    try:
        with Image.open(io.BytesIO(image_bytes)) as image:
            text = image.info.get(RECORD_CHUNK)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"These {len(image_bytes)} bytes are not an image that can be read: {error}") from error
    if not isinstance(text, str):
        raise DataError(
            f"The image has no {RECORD_CHUNK!r} text: the demo describer only describes images that `sightwords demo` "
            "drew. For other images use --describer hf:NAME_OR_FOLDER or --describer server:MODEL@URL."
        )
    try:
        return BirdRecord.from_json(text)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"The image's {RECORD_CHUNK!r} text is damaged or of another version ({error!r}). "
            "Draw the images again with `sightwords demo` in a new folder."
        ) from error


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
