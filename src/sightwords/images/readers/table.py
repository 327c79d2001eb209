"""Tables of images: CSV with paths, Parquet with paths or with the bytes inside (as the Hugging Face hub has them)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sightwords.errors import DataError
from sightwords.files import atomic_path, cache_folder
from sightwords.images.member import Member, image_key
from sightwords.images.readers.listing import SPLIT_NAMES, Row, split_labels

IMAGE_COLUMNS = ("image", "img", "image_path", "path", "file", "file_name", "filename")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "coarse_label")


def list_table(file: Path, split: str, image_column: str | None, label_column: str | None) -> dict[str, list[Row]]:
    """List the images of a table by split; without a `split` column all rows belong to `split`.

    Paths are relative to the table's folder. Image bytes inside a Parquet file are unpacked once into the cache, so
    that training reads each image as a byte range instead of decoding a row group for it.

    Raises:
        DataError: the table is damaged or lacks a column.
    """
    names = _column_names(file)
    image = _choose(file, names, image_column, IMAGE_COLUMNS, "--image-column")
    assert image is not None
    label = _choose(file, names, label_column, LABEL_COLUMNS, "--label-column", required=False)
    wanted = [name for name in (image, label, "split") if name is not None and name in names]
    reader = _read_csv if file.suffix.lower() in (".csv", ".tsv") else _read_parquet
    listed: dict[str, list[Row]] = {}
    for row, own in reader(file, image, label, wanted):
        listed.setdefault(_split(file, own, split), []).append(row)
    return listed


def _read_csv(file: Path, image: str, label: str | None, wanted: list[str]) -> Iterator[tuple[Row, str | None]]:
    rows = _csv(file).select(wanted).to_pylist()
    for row in rows:
        labels = split_labels(row[label] or "") if label else ()
        yield Row(_path_member(file, row[image]), labels), row.get("split")


def _read_parquet(file: Path, image: str, label: str | None, wanted: list[str]) -> Iterator[tuple[Row, str | None]]:
    with pq.ParquetFile(file) as parquet:
        inside = not pa.types.is_string(parquet.schema_arrow.field(image).type) and not pa.types.is_large_string(
            parquet.schema_arrow.field(image).type
        )
        names = _class_label_names(parquet.schema_arrow, label)
        members = _unpacked(file, parquet, image) if inside else None
        columns = [name for name in wanted if not (inside and name == image)]
        position = 0
        for batch in parquet.iter_batches(columns=columns):
            for row in batch.to_pylist():
                member, reason = members[position] if members else (_path_member(file, row[image]), "")
                position += 1
                labels = _labels(row.get(label) if label else None, names)
                yield Row(member, labels, reason), row.get("split")


def _column_names(file: Path) -> list[str]:
    try:
        if file.suffix.lower() in (".csv", ".tsv"):
            return list(_csv(file).column_names)
        return list(pq.read_schema(file).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file} is not a readable table: {error}") from None


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


def _choose(
    file: Path, names: Iterable[str], given: str | None, usual: tuple[str, ...], flag: str, required: bool = True
) -> str | None:
    names = list(names)
    if given is not None:
        if given not in names:
            raise DataError(f"{file} has no column {given!r} ({flag}). It has: {', '.join(names)}.")
        return given
    found = next((name for name in usual if name in names), None)
    if found is None and required:
        raise DataError(f"{file} has none of the columns {', '.join(usual)}; name one of its own with {flag}: {names}.")
    return found


def _split(file: Path, value: str | None, default: str) -> str:
    if not value:
        return default
    if value.lower() not in SPLIT_NAMES:
        raise DataError(f"Unknown split {value!r} in {file}. Allowed: {', '.join(sorted(SPLIT_NAMES))}.")
    return SPLIT_NAMES[value.lower()]


def _path_member(file: Path, value: str) -> Member:
    return Member(os.path.normpath(file.parent / value), value)


def _class_label_names(schema: pa.Schema, label: str | None) -> list[str] | None:
    """Return the class names that the Hugging Face layout keeps in the schema's metadata, where it does."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None or label is None:
        return None
    feature = json.loads(metadata).get("info", {}).get("features", {}).get(label, {})
    feature = feature.get("feature", feature) if isinstance(feature, dict) else {}
    return feature.get("names") if isinstance(feature, dict) else None


def _labels(value: Any, names: list[str] | None) -> tuple[str, ...]:
    if isinstance(value, str):
        return split_labels(value)
    values = value if isinstance(value, list) else [value]
    # -1 is how published test sets mark a hidden label
    return tuple(names[v] if names else str(v) for v in values if v is not None and v != -1)


def _unpacked(file: Path, parquet: pq.ParquetFile, column: str) -> list[tuple[Member, str]]:
    """Return each row's image as a range of one unpacked file in the cache, made on first use."""
    status = file.stat()
    identity = image_key(f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{column}".encode())
    pack = cache_folder() / "unpacked" / f"{identity[:32]}.bin"
    index = pack.with_suffix(".json")
    if not index.exists() or not pack.exists():
        entries = _unpack(parquet, column, pack)
        with atomic_path(index) as temporary:
            temporary.write_text(json.dumps(entries), encoding="utf-8")
    members: list[tuple[Member, str]] = []
    for row, (name, offset, size) in enumerate(json.loads(index.read_text(encoding="utf-8"))):
        shown = f"{file.name}[{row}]" + (f" ({name})" if name else "")
        reason = "" if size >= 0 else "the row has no image"
        members.append((Member(str(pack), shown, offset, max(size, 0)), reason))
    return members


def _unpack(parquet: pq.ParquetFile, column: str, pack: Path) -> list[tuple[str, int, int]]:
    entries: list[tuple[str, int, int]] = []
    with atomic_path(pack) as temporary, temporary.open("wb") as out:
        for batch in parquet.iter_batches(columns=[column], batch_size=256):
            for value in batch.column(0).to_pylist():
                data, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
                entries.append((name or "", out.tell(), -1 if data is None else len(data)))
                out.write(data or b"")
    return entries
