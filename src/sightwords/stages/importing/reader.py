"""Rows of descriptions from tables: CSV, TSV, JSONL and Parquet, of other tools or exported by this one."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sightwords.artifacts.description_set import Status
from sightwords.data.key import image_key
from sightwords.errors import DataError
from sightwords.stages.importing.config import ImportConfig
from sightwords.stages.importing.row import Row, Rows

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
