"""The description set: one SQLite file in which every answer is committed as it arrives."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from sightwords.errors import ArtefactError

Status = Literal["ok", "rejected", "failed"]
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE prompts (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, template TEXT NOT NULL,
    UNIQUE (name, version, template));
CREATE TABLE describers (
    id INTEGER PRIMARY KEY, identifier TEXT NOT NULL, model TEXT NOT NULL, revision TEXT NOT NULL,
    parameters TEXT NOT NULL, UNIQUE (identifier, model, revision, parameters));
CREATE TABLE images (key TEXT PRIMARY KEY, name TEXT NOT NULL, class_name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE descriptions (
    key TEXT NOT NULL, prompt INTEGER NOT NULL REFERENCES prompts (id),
    describer INTEGER NOT NULL REFERENCES describers (id), sample INTEGER NOT NULL,
    text TEXT NOT NULL, status TEXT NOT NULL CHECK (status IN ('ok', 'rejected', 'failed')), reason TEXT NOT NULL,
    num_prompt_tokens INTEGER, num_text_tokens INTEGER, seconds REAL, created_at REAL NOT NULL,
    PRIMARY KEY (key, prompt, describer, sample)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Prompt:
    """What a describer is asked.

    Attributes:
        name: name that users choose it by.
        version: raised whenever the template changes.
        template: text to send; `{class_name}` is replaced by the image's readable class name.
    """

    name: str
    version: int
    template: str

    @property
    def names_class(self) -> bool:
        """Whether the template needs the class name."""
        return "{class_name}" in self.template

    def text(self, class_name: str) -> str:
        """Return the text to send for an image of this class."""
        return self.template.replace("{class_name}", class_name)


@dataclass(frozen=True)
class DescriberInfo:
    """Who was asked, with everything needed to ask again.

    Attributes:
        identifier: the ID on the command line, without secrets: `hf:NAME`, `server:MODEL@URL`, `import:SOURCE`.
        model: the model's own name.
        revision: commit or content hash of the model, where it can be known.
        parameters: decoding parameters, JSON values.
    """

    identifier: str
    model: str
    revision: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def _row(self) -> tuple[str, str, str, str]:
        return self.identifier, self.model, self.revision, json.dumps(dict(self.parameters), sort_keys=True)


@dataclass(frozen=True)
class Description:
    """One answer, or the failure to get one.

    Attributes:
        key: key of the image.
        prompt: row id of the prompt.
        describer: row id of the describer.
        sample: 0 for the first description by this describer and prompt, 1 for the second, and so on.
        text: the answer; empty where there is none.
        status: `ok`, `rejected` (an answer that cannot be used) or `failed` (no answer).
        reason: why it was rejected or failed.
        num_prompt_tokens: tokens sent, where known.
        num_text_tokens: tokens answered, where known.
        seconds: time of the request; of a batch, its share.
        created_at: seconds since 1970.
    """

    key: str
    prompt: int
    describer: int
    sample: int
    text: str
    status: Status = "ok"
    reason: str = ""
    num_prompt_tokens: int | None = None
    num_text_tokens: int | None = None
    seconds: float | None = None
    created_at: float = field(default_factory=time.time)


_COLUMNS = ", ".join(f.name for f in fields(Description))
_ROW = attrgetter(*(f.name for f in fields(Description)))
_MARKS = ", ".join("?" for _ in fields(Description))


class DescriptionSet:
    """A description set on disk; use it in a `with` block.

    Args:
        path: the SQLite file.
        create: make it where there is none.

    Raises:
        ArtefactError: there is no file, it is no description set, or it is damaged.
    """

    def __init__(self, path: Path, create: bool = False) -> None:
        self.path = Path(path)
        exists = self.path.exists() and self.path.stat().st_size > 0
        if not exists and not create:
            raise ArtefactError(f"There is no description set at {path}. Make one with: sightwords describe IMAGES")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            self._open_schema()
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.DatabaseError as error:
            raise ArtefactError(f"{path} is not a readable description set ({error}). Name another file.") from None

    def __enter__(self) -> DescriptionSet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._connection.close()

    def add_prompt(self, prompt: Prompt) -> int:
        """Return the row id of a prompt, adding it where it is new."""
        row = (prompt.name, prompt.version, prompt.template)
        self._connection.execute("INSERT OR IGNORE INTO prompts (name, version, template) VALUES (?, ?, ?)", row)
        found = self._connection.execute("SELECT id FROM prompts WHERE (name, version, template) = (?, ?, ?)", row)
        return int(found.fetchone()[0])

    def add_describer(self, info: DescriberInfo) -> int:
        """Return the row id of a describer with these parameters, adding it where it is new."""
        names, row = "identifier, model, revision, parameters", info._row()
        self._connection.execute(f"INSERT OR IGNORE INTO describers ({names}) VALUES (?, ?, ?, ?)", row)
        found = self._connection.execute(f"SELECT id FROM describers WHERE ({names}) = (?, ?, ?, ?)", row)
        return int(found.fetchone()[0])

    def add_images(self, images: Iterable[tuple[str, str, str]]) -> None:
        """Remember (key, name, class name) for people to read; texts are joined by key alone."""
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?)", images)

    def put(self, descriptions: Iterable[Description]) -> None:
        """Store answers in one committed transaction; the same key, prompt, describer and sample is replaced."""
        statement = f"INSERT OR REPLACE INTO descriptions ({_COLUMNS}) VALUES ({_MARKS})"
        with self._transaction():
            self._connection.executemany(statement, map(_ROW, descriptions))

    def answered(self, prompt: int, describer: int, retry_failed: bool = False) -> set[tuple[str, int]]:
        """Return the (key, sample) that need not be asked again.

        Args:
            prompt: row id of the prompt.
            describer: row id of the describer.
            retry_failed: count only `ok` rows as answered.
        """
        condition = "status = 'ok'" if retry_failed else "status IN ('ok', 'rejected')"
        query = f"SELECT key, sample FROM descriptions WHERE prompt = ? AND describer = ? AND {condition}"
        return set(self._connection.execute(query, (prompt, describer)))

    def descriptions(self, status: Status | None = "ok") -> Iterator[Description]:
        """Yield descriptions in the order of (key, prompt, describer, sample); None yields every status."""
        condition, values = ("WHERE status = ?", (status,)) if status else ("", ())
        try:
            for row in self._connection.execute(f"SELECT {_COLUMNS} FROM descriptions {condition}", values):
                yield Description(*row)
        except sqlite3.DatabaseError as error:
            raise ArtefactError(f"{self.path} is damaged ({error}). Go back to a copy of it.") from None

    def prompts(self) -> dict[int, Prompt]:
        """Return all prompts by row id."""
        rows = self._connection.execute("SELECT id, name, version, template FROM prompts")
        return {row[0]: Prompt(*row[1:]) for row in rows}

    def describers(self) -> dict[int, DescriberInfo]:
        """Return all describers by row id."""
        rows = self._connection.execute("SELECT id, identifier, model, revision, parameters FROM describers")
        return {row[0]: DescriberInfo(row[1], row[2], row[3], json.loads(row[4])) for row in rows}

    def images(self) -> dict[str, tuple[str, str]]:
        """Return key -> (name, class name) as last seen."""
        rows = self._connection.execute("SELECT key, name, class_name FROM images")
        return {key: (name, class_name) for key, name, class_name in rows}

    def counts(self) -> dict[str, int]:
        """Return the number of descriptions of each status that occurs."""
        return dict(self._connection.execute("SELECT status, count(*) FROM descriptions GROUP BY status"))

    def reasons(self) -> list[tuple[str, str, int, str]]:
        """Return (status, reason, count, example text or image name) of what is not `ok`, most frequent first."""
        query = (
            "SELECT status, reason, count(*) AS n, max(coalesce(nullif(text, ''), name, key)) FROM descriptions "
            "LEFT JOIN images USING (key) WHERE status != 'ok' GROUP BY status, reason ORDER BY n DESC"
        )
        return list(self._connection.execute(query))

    def fingerprint(self) -> str:
        """Return a SHA-256 of all usable texts and what they belong to; times and failures do not count."""
        digest = hashlib.sha256()
        prompts, describers = self.prompts(), self.describers()
        for row in self.descriptions("ok"):
            parts = (row.key, prompts[row.prompt], describers[row.describer]._row(), row.sample, row.text)
            digest.update(repr(parts).encode())
        return digest.hexdigest()

    def _open_schema(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and tables == 0:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            self._connection.close()
            raise ArtefactError(
                f"{self.path} is not a description set of version {SCHEMA_VERSION} (found {version}). "
                "Name another file, or use the sightwords version that wrote it."
            )

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)


class _Transaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def export_rows(descriptions: DescriptionSet, status: Status | None = None) -> Iterator[dict[str, Any]]:
    """Yield descriptions as flat records with prompt and describer spelled out, for Parquet, JSONL and CSV."""
    prompts, describers, images = descriptions.prompts(), descriptions.describers(), descriptions.images()
    for row in descriptions.descriptions(status):
        prompt, describer = prompts[row.prompt], describers[row.describer]
        name, class_name = images.get(row.key, ("", ""))
        yield {
            "key": row.key, "name": name, "class_name": class_name, "prompt": prompt.name,
            "prompt_version": prompt.version, "prompt_template": prompt.template, "describer": describer.identifier,
            "model": describer.model, "revision": describer.revision,
            "parameters": json.dumps(dict(describer.parameters), sort_keys=True), "sample": row.sample,
            "text": row.text, "status": row.status, "reason": row.reason,
            "num_prompt_tokens": row.num_prompt_tokens, "num_text_tokens": row.num_text_tokens,
            "seconds": row.seconds, "created_at": row.created_at,
        }  # fmt: skip


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write records to `path` as its ending says: .parquet, .jsonl or .csv.

    Raises:
        ArtefactError: the ending is none of these.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from sightwords.files import atomic_path

    with atomic_path(path) as temporary:
        match path.suffix.lower():
            case ".jsonl":
                lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                temporary.write_text("".join(lines), encoding="utf-8")
            case ".parquet":
                pyarrow.parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), temporary)
            case ".csv":
                pyarrow.csv.write_csv(pa.Table.from_pylist([dict(row) for row in rows]), temporary)
            case ending:
                raise ArtefactError(f"Cannot export to {ending!r}. Allowed endings: .parquet, .jsonl, .csv.")
