"""Readable class names: from a table of the user's, or, for ImageNet's synset ids, from timm."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

from sightwords.errors import DataError

_SYNSET = re.compile(r"n\d{8}")


def class_names(ids: Sequence[str], table: Path | None = None) -> list[str]:
    """Return a readable name for each class id, in order.

    Args:
        ids: class ids as the data has them (folder names, numbers).
        table: CSV or TSV with `id,name`, JSON object {id: name}, or lines "id name"; None uses timm's names for
            ImageNet synset ids and the ids themselves, with underscores as spaces, for all others.

    Raises:
        DataError: the table cannot be read, or lacks an id.
    """
    if table is not None:
        names = read_class_table(table)
        missing = [i for i in ids if i not in names]
        if missing:
            shown = ", ".join(missing[:5])
            raise DataError(f"{table} has no name for {len(missing)} of {len(ids)} classes: {shown}. Add them.")
        return [names[i] for i in ids]
    if ids and all(_SYNSET.fullmatch(i) for i in ids):
        return _imagenet_names(ids)
    return [i.replace("_", " ").strip() or i for i in ids]


def read_class_table(table: Path) -> dict[str, str]:
    """Return the names by id that a table holds.

    Raises:
        DataError: the file does not exist or has another layout.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the class table {table}: {error}") from None
    suffix = table.suffix.lower()
    if suffix == ".json":
        return _from_json(table, text)
    if suffix in (".csv", ".tsv"):
        rows = list(csv.reader(text.splitlines(), delimiter="\t" if suffix == ".tsv" else ","))
        pairs = [(row[0].strip(), row[1].strip()) for row in rows if len(row) >= 2]
        if pairs and pairs[0][1].lower() == "name":
            pairs = pairs[1:]
        return dict(pairs)
    lines = [line.strip().split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return {line[0]: line[1] for line in lines if len(line) == 2}


def _from_json(table: Path, text: str) -> dict[str, str]:
    try:
        names = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"The class table {table} is not valid JSON: {error}") from None
    if isinstance(names, list):
        return {str(i): str(name) for i, name in enumerate(names)}
    if not isinstance(names, dict):
        raise DataError(f"The class table {table} must hold an object {{id: name}} or a list of names.")
    return {str(i): str(name[-1] if isinstance(name, list) else name) for i, name in names.items()}


def _imagenet_names(ids: Sequence[str]) -> list[str]:
    from timm.data import ImageNetInfo

    for subset in ("imagenet-1k", "imagenet-22k", "imagenet-21k-goog"):
        info = ImageNetInfo(subset)
        known = set(info.label_names())
        if all(i in known for i in ids):
            return [str(info.label_name_to_description(i)) for i in ids]
    return list(ids)
