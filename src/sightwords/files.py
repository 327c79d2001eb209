"""Files that are either whole or absent: written beside their place and moved into it in one step."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightwords.errors import BusyError

if TYPE_CHECKING:
    from jinja2 import Template


_ROWS_AT_ONCE = 8192


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, for a file or a folder; it becomes `path` when the block ends well.

    After an error, or a kill, `path` is as it was before. An existing folder at `path` is replaced as a whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        yield temporary
        _sync(temporary)
        if temporary.is_dir() and path.is_dir():
            _replace_folder(temporary, path)
        else:
            temporary.replace(path)
    finally:
        _remove(temporary)


@contextmanager
def staged_files(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder inside `folder`; the files in it move into `folder` when the block ends well.

    After an error nothing is left. They move in the order of their writing, so what is written last appears last.
    """
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{uuid.uuid4().hex[:8]}.partial"
    temporary.mkdir()
    try:
        yield temporary
        _sync(temporary)
        for file in sorted(temporary.iterdir(), key=lambda one: one.stat().st_mtime_ns):
            file.replace(folder / file.name)
        made = []
    finally:
        _remove(temporary)
        for parent in made:
            parent.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def html_template(path: Path, **filters: Callable[..., Any]) -> Template:
    """Return a Jinja template of HTML with filters of its own; it shows every text as text."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(filters)
    return environment.from_string(path.read_text(encoding="utf-8"))


def write_page(path: Path, pieces: Iterable[str]) -> None:
    """Write an HTML page in one step; a byte of a file name that is no text becomes a question mark."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.writelines(pieces)


@contextmanager
def row_writer(path: Path | None) -> Iterator[Callable[[Mapping[str, Any]], object]]:
    """Yield what writes a row into a file, JSON lines, Parquet or CSV; it appears when the block ends well.

    The first rows of a Parquet file tell the types of its columns.
    """
    if path is None:
        yield lambda row: None
        return
    if path.suffix == ".parquet":
        with atomic_path(path) as temporary, closing(_ParquetRows(temporary)) as rows:
            yield rows.write
        return
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors="replace") as file:
        table: csv.DictWriter[str] | None = None

        def write(row: Mapping[str, Any]) -> None:
            nonlocal table
            if path.suffix == ".jsonl":
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                return
            if table is None:
                table = csv.DictWriter(file, list(row))
                table.writeheader()
            table.writerow(row)

        yield write


class _ParquetRows:
    """Rows that are written a few thousand at a time."""

    def __init__(self, path: Path) -> None:
        self._path, self._rows = path, list[dict[str, Any]]()
        self._writer: Any = None

    def write(self, row: Mapping[str, Any]) -> None:
        self._rows.append(dict(row))
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(self._rows, self._writer and self._writer.schema)
        self._writer = self._writer or pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)
        self._rows = []


@contextmanager
def lock(name: str, busy: str) -> Iterator[None]:
    """Keep other processes of this machine out of a block; the end of the process, also by a kill, frees the lock.

    Args:
        name: what is locked; any text.
        busy: the message of the error.

    Raises:
        BusyError: another process holds it.
    """
    from filelock import FileLock, Timeout

    folder = cache_folder() / "locks"
    folder.mkdir(exist_ok=True)
    held = FileLock(folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock", timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise BusyError(busy) from None
    try:
        yield
    finally:
        held.release()


def cache_folder() -> Path:
    """Return the folder of everything that can be made again: $SIGHTWORDS_CACHE, else the user's cache folder."""
    from platformdirs import user_cache_path

    own = os.environ.get("SIGHTWORDS_CACHE")
    folder = Path(own) if own else user_cache_path("sightwords", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sync(path: Path) -> None:
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace_folder(new: Path, path: Path) -> None:
    old = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.old"
    path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return each option that differs, as `align.weight was 0.3, is 0.5; ...`, empty where none does.

    An option that was not saved is no change.

    Args:
        before: as they were saved; values may be mappings themselves.
        now: as they are given.
    """
    old, new = _flat(before), _flat(now)
    return "; ".join(f"{name} was {old[name]!r}, is {new.get(name)!r}" for name in old if new.get(name) != old[name])


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested options by dotted names; an empty mapping stays a value."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        is_nested = isinstance(value, Mapping) and value
        found |= _flat(value, f"{prefix}{name}.") if is_nested else {f"{prefix}{name}": value}
    return found
