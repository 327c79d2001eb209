"""WebDataset shards: tar files in which the members of one sample share the part of the name before the first dot."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from sightwords.errors import DataError
from sightwords.images.readers import IMAGE_SUFFIXES, Row, split_labels
from sightwords.images.references import ImageReference

LABEL_FIELDS = ("label", "labels", "cls", "class")


def read(file: Path, image_column: str | None, label_column: str | None) -> Iterator[Row]:
    """Yield the images of an uncompressed tar shard; the label is `.cls` (number or name) or `label` in `.json`.

    Raises:
        DataError: the shard is damaged or compressed, or a label cannot be read.
    """
    try:
        with tarfile.open(file, "r:") as shard:
            infos = (info for info in shard if info.isfile())
            for _, sample in groupby(infos, key=lambda info: _split_name(info.name)[0]):
                yield from _sample(file, shard, {_split_name(info.name)[1]: info for info in sample})
    except tarfile.TarError as error:
        raise DataError(f"{file} is not a readable uncompressed tar shard: {error}") from None


def _split_name(name: str) -> tuple[str, str]:
    folder, _, last = name.rpartition("/")
    base, _, suffix = last.partition(".")
    return f"{folder}/{base}", suffix.lower()


def _sample(file: Path, shard: tarfile.TarFile, parts: dict[str, tarfile.TarInfo]) -> Iterator[Row]:
    images = [info for suffix, info in parts.items() if f".{suffix.rpartition('.')[2]}" in IMAGE_SUFFIXES]
    labels = _labels(file, shard, parts) if images else ()
    for info in images:
        yield Row(ImageReference(str(file), f"{file.name}/{info.name}", info.offset_data, info.size), labels)


def _labels(file: Path, shard: tarfile.TarFile, parts: dict[str, tarfile.TarInfo]) -> tuple[str, ...]:
    try:
        if "cls" in parts:
            return split_labels(_text(shard, parts["cls"]))
        if "json" in parts:
            record = json.loads(_text(shard, parts["json"]))
            value = next((record[name] for name in LABEL_FIELDS if name in record), None)
            values = value if isinstance(value, list) else [value]
            return tuple(str(v) for v in values if v is not None)
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError) as error:
        raise DataError(f"The label beside {next(iter(parts.values())).name} in {file} is damaged: {error}") from None
    return ()


def _text(shard: tarfile.TarFile, info: tarfile.TarInfo) -> str:
    reader = shard.extractfile(info)
    assert reader is not None
    return reader.read().decode("utf-8").strip()
