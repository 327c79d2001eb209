"""Rows of descriptions from tables: CSV, TSV, JSONL and Parquet, of other tools or exported by this one."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from sightwords.descriptions.config import ImportConfig
from sightwords.descriptions.schema import DescriberInfo, Prompt, Status
from sightwords.errors import ArtifactError, ConfigError, DataError
from sightwords.images.keys import KeyCache, image_key
from sightwords.images.readers import SPLIT_NAMES
from sightwords.images.references import ImageReference
from sightwords.progress import Progress

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Row:
    """One description of a source, not yet joined to an image.

    Attributes:
        reference: the image as the source names it: key, path or file name.
        text: the description.
        prompt: position of the prompt in `Rows.prompts`.
        describer: position of the describer in `Rows.describers`.
        sample: number among the descriptions of an image by this prompt and describer; None counts them.
        status: of the description.
        reason: why it was rejected or failed.
        num_prompt_tokens: tokens sent, where known.
        num_text_tokens: tokens answered, where known.
        seconds: time of the request, where known.
        created_at: seconds since 1970; None is now.
    """

    reference: str
    text: str
    prompt: int
    describer: int
    sample: int | None = None
    status: Status = "ok"
    reason: str = ""
    num_prompt_tokens: int | None = None
    num_text_tokens: int | None = None
    seconds: float | None = None
    created_at: float | None = None


class Rows:
    """The usable rows of a source.

    Attributes:
        rows: descriptions in the source's order.
        prompts: what was asked; rows name them by position.
        describers: who answered; rows name them by position.
        num_empty: texts left out because they are empty.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.prompts: list[Prompt] = []
        self.describers: list[DescriberInfo] = []
        self.num_empty = 0
        self._positions: dict[tuple[object, ...], int] = {}

    def add(self, row: Row) -> None:
        """Keep a row, unless it should have a text and has none."""
        if row.status == "ok" and not row.text.strip():
            self.num_empty += 1
        else:
            self.rows.append(row)

    def prompt(self, name: str, version: int = 1, template: str = "") -> int:
        """Return the position of a prompt, adding it where it is new."""
        return self._position(
            ("prompt", name, version, template), self.prompts, lambda: Prompt(name, version, template)
        )

    def describer(self, identifier: str, model: str = "", revision: str = "", parameters: str = "{}") -> int:
        """Return the position of a describer with these parameters (a JSON object), adding it where it is new."""
        names = (identifier, model, revision)

        def make() -> DescriberInfo:
            return DescriberInfo(*names, _parameters(parameters))

        return self._position(("describer", *names, parameters), self.describers, make)

    def _position(self, name: tuple[object, ...], known: list[_T], make: Callable[[], _T]) -> int:
        if name not in self._positions:
            known.append(make())
            self._positions[name] = len(known) - 1
        return self._positions[name]


def _parameters(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"parameters {text!r} are not a JSON object")
    return value


TEXT_COLUMNS = ("text", "caption", "description", "captions")
SOURCE_COLUMNS = ("key", "image", "image_path", "path", "file", "file_name", "filename", "name")
EXPORT_COLUMNS = frozenset({"key", "prompt", "describer", "sample", "text", "status"})
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

_STATUSES: Mapping[str, Status] = {"ok": "ok", "rejected": "rejected", "failed": "failed"}
_MAX_FIELD = 1 << 27  # characters in a CSV field; the library's own limit is 131072
_BATCH_ROWS = 512  # rows of Parquet turned into Python objects at once; they may hold image bytes


def read_table(config: ImportConfig) -> Rows:
    """Read all rows of a table.

    A table with the columns of an exported description set keeps its prompts, describers, samples and statuses.

    Raises:
        DataError: the file is missing or damaged, of an unknown kind, or lacks a column.
    """
    columns = _columns(config.source)
    found = Rows()
    if set(columns) >= EXPORT_COLUMNS and config.text_column is None and config.source_column is None:
        _read_exported(config.source, found)
    else:
        _read_plain(config, columns, found)
    return found


def _read_plain(config: ImportConfig, columns: Sequence[str], found: Rows) -> None:
    source = config.source
    text = _choose(source, columns, config.text_column, TEXT_COLUMNS, "--text-column")
    image = _choose(source, columns, config.source_column, SOURCE_COLUMNS, "--source-column")
    prompt, describer = found.prompt(config.prompt), found.describer(config.describer_name)
    for place, record in _records(source, [image, text]):
        reference = _reference(place, record.get(image))
        for one in _texts(place, record.get(text)):
            found.add(Row(reference, one.strip(), prompt, describer))


def _read_exported(source: Path, found: Rows) -> None:
    for place, record in _records(source, None):
        try:
            found.add(_exported_row(record, found))
        except (ValueError, TypeError) as error:
            raise DataError(f"{place} is not a row of an exported description set: {error}") from None


def _exported_row(record: Mapping[str, Any], found: Rows) -> Row:
    def text(name: str) -> str:
        value = record.get(name)
        return "" if value is None or value != value else str(value)  # NaN is how pandas keeps a missing number

    def number(name: str) -> float | None:
        return float(text(name)) if text(name) else None

    def count(name: str) -> int | None:
        value = number(name)
        if value is not None and not (value.is_integer() and 0 <= value < 2**31):
            raise ValueError(f"{name} is {text(name)}; a whole number from 0 on is expected")
        return None if value is None else int(value)

    prompt = found.prompt(text("prompt"), count("prompt_version") or 1, text("prompt_template"))
    describer = found.describer(text("describer"), text("model"), text("revision"), text("parameters") or "{}")
    status, sample = _STATUSES.get(text("status")), count("sample")
    if status is None or sample is None:
        raise ValueError(f"status {text('status')!r} (ok, rejected, failed), sample {text('sample')!r} (0, 1, ...)")
    return Row(
        text("key"), text("text"), prompt, describer, sample, status, text("reason"),
        count("num_prompt_tokens"), count("num_text_tokens"), number("seconds"), number("created_at"),
    )  # fmt: skip


def _choose(source: Path, columns: Iterable[str], given: str | None, usual: tuple[str, ...], flag: str) -> str:
    names = list(columns)
    if given is not None and given not in names:
        raise DataError(f"{source} has no column {given!r} ({flag}). It has: {', '.join(names)}.")
    if given is not None:
        return given
    lower = {name.strip().lower(): name for name in names}
    found = next((lower[name] for name in usual if name in lower), None)
    if found is None:
        raise DataError(
            f"{source} has none of the columns {', '.join(usual)}. "
            f"Name one of its own with {flag}: {', '.join(names) or '(it has no columns)'}."
        )
    return found


def _reference(place: str, value: Any) -> str:
    """Return how a cell names its image; image bytes name it by their key."""
    if isinstance(value, dict):
        data = value.get("bytes")
        value = data if data is not None else value.get("path")
    if isinstance(value, bytes):
        return image_key(value)
    if value is None or isinstance(value, str | int):
        return "" if value is None else str(value).strip()
    raise DataError(f"{place} names its image by {value!r}; a key, a path, a file name or image bytes are expected.")


def _texts(place: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    texts = ["" if one is None else one for one in values]
    wrong = next((one for one in texts if not isinstance(one, str)), None)
    if wrong is not None:
        raise DataError(f"{place} has {wrong!r} where a text or a list of texts is expected.")
    return texts


def _columns(source: Path) -> list[str]:
    """Return the names of a table's columns; of JSONL, those of the first record."""
    suffix = source.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"Cannot import {source}. Allowed: {', '.join(TABLE_SUFFIXES)}, and .pt or .pth for a list.")
    if not source.is_file():
        raise DataError(f"There is no file {source}. Name a table of descriptions.")
    if suffix == ".parquet":
        try:
            return list(pq.read_schema(source).names)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{source} is not a readable Parquet file: {error}") from None
    first = next(_records(source, None), None)
    return list(first[1]) if first else []


def _records(source: Path, wanted: list[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where it stands, column -> value) of every row; only Parquet heeds the wanted columns."""
    try:
        match source.suffix.lower():
            case ".jsonl":
                yield from _jsonl_records(source)
            case ".parquet":
                yield from _parquet_records(source, wanted)
            case suffix:
                yield from _csv_records(source, "\t" if suffix == ".tsv" else ",")
    except (csv.Error, UnicodeDecodeError, pa.ArrowException, OSError) as error:
        raise DataError(f"{source} is not a readable {source.suffix.lower()} file: {error}") from None


def _csv_records(source: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD))
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        for record in reader:
            place = f"Line {reader.line_num} of {source}"
            if None in record:  # a comma in a text without quotes would cut the text
                raise DataError(f"{place} has more cells than the header. Put texts that hold {delimiter!r} in quotes.")
            yield place, record


def _jsonl_records(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with source.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"Line {number} of {source}"
            try:
                record = json.loads(line)
                if "\\ud" in line.lower():  # half a surrogate pair is valid JSON, but no text
                    json.dumps(record, ensure_ascii=False).encode()
            except (json.JSONDecodeError, UnicodeEncodeError, RecursionError) as error:
                raise DataError(f"{place} is not valid JSON: {error}") from None
            if not isinstance(record, dict):
                raise DataError(f"{place} is not a JSON object; each line must be one.")
            yield place, record


def _parquet_records(source: Path, wanted: list[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    with pq.ParquetFile(source) as parquet:
        for batch in parquet.iter_batches(columns=wanted, batch_size=_BATCH_ROWS):
            for record in batch.to_pylist():
                number += 1
                yield f"Row {number} of {source}", record


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
        keys, _ = KeyCache().keys([ImageReference(file, file) for file in files], progress.advance)
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
