"""Tables of images: CSV with paths, Parquet with paths or with the bytes inside (as the Hugging Face hub has them)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from sightwords.errors import DataError
from sightwords.files import atomic_path, cache_folder
from sightwords.images.readers import Row, split_labels
from sightwords.images.references import ImageReference

IMAGE_COLUMNS = ("image", "img", "image_path", "path", "file", "file_name", "filename")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "coarse_label")

Batches = Callable[..., Iterable[pa.RecordBatch]]


def read(file: Path, image_column: str | None, label_column: str | None) -> Iterator[Row]:
    """Yield the images of a table; its column `split`, where there is one, says of which split each is.

    Paths are relative to the table's folder. Image bytes inside a Parquet file are unpacked once into the cache, so
    that training reads each image as a byte range instead of decoding a row group for it. A column that is None is
    found by its usual names.

    Raises:
        DataError: the table is damaged or lacks a column.
    """
    try:
        with open_table(file) as (schema, batches):
            image = _column(file, schema, image_column, IMAGE_COLUMNS, "--image-column")
            label = _column(file, schema, label_column, LABEL_COLUMNS, "--label-column")
            if image is None:
                usual, own = ", ".join(IMAGE_COLUMNS), ", ".join(schema.names)
                raise DataError(f"{file} has none of the columns {usual}. Name one of {own} with --image-column.")
            is_text = pa.types.is_string(schema.field(image).type) or pa.types.is_large_string(schema.field(image).type)
            unpacked = None if is_text else _unpacked(file, image, batches)
            columns = {name for name in (image if is_text else None, label, "split") if name in schema.names}
            names = _class_label_names(schema, label)
            for row in (row for batch in batches(columns=sorted(columns)) for row in batch.to_pylist()):
                reference, reason = next(unpacked) if unpacked else (_reference(file, row[image]), "")
                yield Row(reference, _labels(row[label] if label else None, names), row.get("split") or "", reason)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file} is not a readable table: {error}") from None


@contextmanager
def open_table(file: Path) -> Iterator[tuple[pa.Schema, Batches]]:
    """Yield the schema of a .parquet, .csv, .tsv or .jsonl file, and what gives its batches of chosen columns.

    Raises:
        pyarrow.ArrowException: the file is damaged.
        OSError: the file cannot be read.
    """
    if file.suffix.lower() == ".parquet":
        with pq.ParquetFile(file) as parquet:
            yield parquet.schema_arrow, parquet.iter_batches
    else:
        table = _jsonl(file) if file.suffix.lower() == ".jsonl" else _csv(file)
        yield table.schema, lambda columns: table.select(columns).to_batches()


def _jsonl(file: Path) -> pa.Table:
    options = pyarrow.json.ReadOptions(block_size=2**26)  # bytes; no line may be longer
    return pyarrow.json.read_json(file, read_options=options)


def _csv(file: Path) -> pa.Table:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    with file.open(encoding="utf-8-sig") as lines:
        names = lines.readline().strip().split(delimiter)
    types = {name.strip('"'): pa.string() for name in names}
    return pyarrow.csv.read_csv(
        file,
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False),
    )


def _column(file: Path, schema: pa.Schema, given: str | None, usual: tuple[str, ...], flag: str) -> str | None:
    if given is not None and given not in schema.names:
        raise DataError(f"{file} has no column {given!r} ({flag}). It has: {', '.join(schema.names)}.")
    return given or next((name for name in usual if name in schema.names), None)


def _reference(file: Path, value: str) -> ImageReference:
    return ImageReference(os.path.normpath(file.parent / value), value)


def _class_label_names(schema: pa.Schema, label: str | None) -> list[str] | None:
    """Return the class names that the Hugging Face layout keeps in the schema's metadata, where it does."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", "{}"))
    feature = metadata.get("info", {}).get("features", {}).get(label, {})
    feature = feature.get("feature", feature) if isinstance(feature, dict) else {}
    return feature.get("names") if isinstance(feature, dict) else None


def _labels(value: Any, names: list[str] | None) -> tuple[str, ...]:
    if isinstance(value, str):
        return split_labels(value)
    values = value if isinstance(value, list) else [value]
    # -1 is how published test sets mark a hidden label
    return tuple(names[v] if names else str(v) for v in values if v is not None and v != -1)


def _unpacked(file: Path, column: str, batches: Batches) -> Iterator[tuple[ImageReference, str]]:
    """Yield each row's image as a range of one unpacked file in the cache, made on first use, or why it has none."""
    status = file.stat()
    identity = f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{column}"
    pack = cache_folder() / "unpacked" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.bin"
    index = pack.with_suffix(".json")
    if not index.exists() or not pack.exists():
        entries = _unpack(batches, column, pack)
        with atomic_path(index) as temporary:
            temporary.write_text(json.dumps(entries), encoding="utf-8")
    for row, (name, offset, size) in enumerate(json.loads(index.read_text(encoding="utf-8"))):
        shown = f"{file.name}[{row}]" + (f" ({name})" if name else "")
        yield ImageReference(str(pack), shown, offset, max(size, 0)), "" if size >= 0 else "the row has no image"


def _unpack(batches: Batches, column: str, pack: Path) -> list[tuple[str, int, int]]:
    entries: list[tuple[str, int, int]] = []
    with atomic_path(pack) as temporary, temporary.open("wb") as out:
        for batch in batches(columns=[column], batch_size=256):
            for value in batch.column(0).to_pylist():
                data, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
                entries.append((name or "", out.tell(), -1 if data is None else len(data)))
                out.write(data or b"")
    return entries
