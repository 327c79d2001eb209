"""Descriptions from elsewhere: tables (CSV, TSV, JSONL, Parquet), and the torch list that the authors publish."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from sightwords.descriptions.config import ImportConfig
from sightwords.errors import ArtifactError, ConfigError, DataError
from sightwords.images.keys import KeyCache, image_key
from sightwords.images.readers import SPLIT_NAMES
from sightwords.images.readers.table import open_table
from sightwords.images.references import ImageReference
from sightwords.progress import Progress

TEXT_COLUMNS = ("text", "caption", "description", "captions")
SOURCE_COLUMNS = ("key", "image", "image_path", "path", "file", "file_name", "filename", "name")
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
LIST_SUFFIXES = (".pt", ".pth")


class SourceRow(NamedTuple):
    """One description of a source: its image as the source names it (key, path or file name), and the text."""

    reference: str
    text: str


def read_source(config: ImportConfig) -> list[SourceRow]:
    """Return all rows of a source, those with an empty text too.

    Raises:
        DataError: the table is missing or damaged, of an unknown kind, or lacks a column.
        ArtifactError: the torch file holds anything but a list of strings, or as many of them as the folder has images.
        ConfigError: the torch file's images are not a folder.
    """
    if config.source.suffix.lower() in LIST_SUFFIXES:
        return _read_published(config)
    return _read_table(config)


def _read_table(config: ImportConfig) -> list[SourceRow]:
    source = config.source
    if source.suffix.lower() not in TABLE_SUFFIXES:
        raise DataError(f"Cannot import {source}. Allowed: {', '.join(TABLE_SUFFIXES)}, and .pt or .pth for a list.")
    if not source.is_file():
        raise DataError(f"There is no file {source}. Name a table of descriptions.")
    rows: list[SourceRow] = []
    try:
        with open_table(source) as (schema, batches):
            text = _choose(source, schema.names, config.text_column, TEXT_COLUMNS, "--text-column")
            image = _choose(source, schema.names, config.source_column, SOURCE_COLUMNS, "--source-column")
            for record in (record for batch in batches(columns=[image, text]) for record in batch.to_pylist()):
                reference = _reference(source, record[image])
                rows += [SourceRow(reference, one.strip()) for one in _texts(source, record[text])]
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{source} is not a readable {source.suffix.lower()} file: {error}") from None
    return rows


def _choose(source: Path, names: Iterable[str], given: str | None, usual: tuple[str, ...], flag: str) -> str:
    own = {name.strip().lower(): name for name in names}
    if given is not None and given not in own.values():
        raise DataError(f"{source} has no column {given!r} ({flag}). It has: {', '.join(own.values())}.")
    found = given or next((own[name] for name in usual if name in own), None)
    if found is None:
        raise DataError(
            f"{source} has none of the columns {', '.join(usual)}. Name one of its own with {flag}: "
            f"{', '.join(own.values()) or '(it has no columns)'}."
        )
    return found


def _reference(source: Path, value: Any) -> str:
    """Return how a cell names its image; image bytes name it by their key."""
    if isinstance(value, dict):
        data = value.get("bytes")
        value = data if data is not None else value.get("path")
    if isinstance(value, bytes):
        return image_key(value)
    if value is None or isinstance(value, str | int):
        return "" if value is None else str(value).strip()
    raise DataError(f"{source} names an image by {value!r}; a key, a path, a file name or image bytes are expected.")


def _texts(source: Path, value: Any) -> list[str]:
    texts = ["" if one is None else one for one in (value if isinstance(value, list) else [value])]
    wrong = next((one for one in texts if not isinstance(one, str)), None)
    if wrong is not None:
        raise DataError(f"{source} has {wrong!r} where a text or a list of texts is expected.")
    return texts


def _read_published(config: ImportConfig) -> list[SourceRow]:
    """Read a list of strings and join it to the keys of the folder's images, in the order of torchvision."""
    from torchvision.datasets import ImageFolder

    folder = _class_folder(config, "val" if config.split == "val" else "train")
    texts = load_list(config.source)
    try:
        files = [file for file, _ in ImageFolder(str(folder), allow_empty=True).samples]
    except FileNotFoundError:  # no class folder
        files = []
    if len(texts) != len(files):
        raise ArtifactError(
            f"{config.source} holds {len(texts)} texts, but {folder} has {len(files)} image files. The list goes by "
            "the order of the files, so both must be equal: use the very folder that it was made for, unchanged."
        )
    with Progress("Hashing", len(files), "images") as progress:
        keys, _ = KeyCache().keys([ImageReference(file, file) for file in files], progress.advance)
    # a file that cannot be read matches no image
    return [SourceRow(key or file, text.strip()) for file, key, text in zip(files, keys, texts, strict=True)]


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
        kinds = sorted({type(one).__name__ for one in texts}) if isinstance(texts, list) else []
        found = f"a list of {', '.join(kinds)}" if kinds else f"a {type(texts).__name__}"
        raise ArtifactError(f"{source} holds {found}; a list of strings is expected.")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise ArtifactError(f"{source} holds a text that is not valid Unicode: {error}") from None
    return texts


def _class_folder(config: ImportConfig, split: Literal["train", "val"]) -> Path:
    """Return the folder whose subfolders are the classes of a split."""
    own: str | None = getattr(config, split)
    root = Path(own or config.images or "")
    if not (own or config.images) or not root.is_dir():
        raise ConfigError(
            f"{config.source} goes by the order of files, so it needs a folder of {split} images (CLASS/*.jpg) as "
            f"--images or --{split}; {own or config.images or 'nothing'} came."
        )
    if own:
        return root
    named = {SPLIT_NAMES.get(child.name.lower()): child for child in sorted(root.iterdir()) if child.is_dir()}
    return named.get(split, root)
