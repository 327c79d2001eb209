"""The description set: one SQLite file in which every answer is committed as it arrives."""

from __future__ import annotations

import json
import shlex
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any

from sightwords.descriptions.schema import (
    Attempt,
    DescriberInfo,
    Description,
    Prompt,
    Reason,
    Review,
    Selected,
    Spent,
    Status,
    open_schema,
    storable,
)
from sightwords.errors import ArtifactError, ConfigError, DamagedSetError, UnknownNameError

# Keys come in any order, so that each row changes another page of the index: with SQLite's own 2 MB these pages were
# written again and again, and a million rows took 14 times as long as a tenth of them.
_CACHE_KIB = 65_536

_COLUMNS, _SELECTED, _REVIEW = (", ".join(f.name for f in fields(kind)) for kind in (Description, Selected, Review))
_AT = "prompt = ? AND describer = ? AND key IN (SELECT value FROM json_each(?)) ORDER BY key, sample, attempt"
_FILE_TROUBLE = ("malformed", "not a database", "locked", "full", "disk I/O", "unable to open")


class DescriptionSet:
    """A description set on disk; use it in a `with` block.

    Args:
        path: the SQLite file.
        create: make it where there is none.

    Raises:
        ArtifactError: there is no file, it is not a description set, it is damaged, or the disk is full.
    """

    def __init__(self, path: Path, create: bool = False) -> None:
        self.path = Path(path)
        exists = self.path.exists() and self.path.stat().st_size > 0
        if not exists and not create:
            raise ArtifactError(f"There is no description set at {path}. Make one with: sightwords describe IMAGES")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._file_errors():
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            try:
                open_schema(self._connection, self.path)
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=NORMAL")
                self._connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> DescriptionSet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._connection.close()

    def add_prompt(self, prompt: Prompt) -> int:
        """Return the row id of a prompt, adding it where it is new."""
        return self._add("prompts", "name, version, template, per_class, confusions", prompt.row())

    def add_describer(self, info: DescriberInfo) -> int:
        """Return the row id of a describer with these parameters, adding it where it is new."""
        return self._add("describers", "identifier, model, revision, parameters", info.row())

    def add_images(self, images: Iterable[tuple[str, str, str]]) -> None:
        """Remember (key, name, class name) for people to read; texts are joined by key alone."""
        statement = (
            "INSERT INTO images VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET name = excluded.name, class_name = "
            "excluded.class_name WHERE (name, class_name) != (excluded.name, excluded.class_name)"
        )
        with self._transaction():
            self._connection.executemany(statement, images)

    def put(self, descriptions: Iterable[Description]) -> None:
        """Store answers in one committed transaction; one of the same key, prompt, describer, sample and attempt goes.

        Raises:
            ArtifactError: the disk is full, or the file is damaged; what was stored before is kept.
        """
        statement = f"INSERT OR REPLACE INTO descriptions ({_COLUMNS}) VALUES ({_marks(_COLUMNS)})"
        row = attrgetter(*_COLUMNS.split(", "))
        if isinstance(descriptions, list) and len(descriptions) == 1:
            with self._file_errors():  # one statement is a transaction of its own, and takes half the time
                self._connection.execute(statement, row(descriptions[0]))
            return
        with self._transaction():
            self._connection.executemany(statement, map(row, descriptions))

    def attempts(self, prompt: int, describer: int, keys: Sequence[str]) -> list[Attempt]:
        """Return every attempt of `prompt` and `describer` (row ids) at these keys, in their order."""
        query = f"SELECT {', '.join(Attempt._fields)} FROM descriptions WHERE {_AT}"
        return [Attempt(*row) for row in self._all(query, (prompt, describer, json.dumps(keys)))]

    def rows(self, prompt: int, describer: int, keys: Sequence[str]) -> list[Description]:
        """Return every answer of `prompt` and `describer` (row ids) for these keys, in their order."""
        query = f"SELECT {_COLUMNS} FROM descriptions WHERE {_AT}"
        return [Description(*row) for row in self._all(query, (prompt, describer, json.dumps(keys)))]

    def descriptions(self, status: Status | None = "ok") -> Iterator[Description]:
        """Yield what counts, in the order of (key, prompt, describer, sample); None: of every status.

        That is the last attempt, as people have decided about it: of an edited one the text is theirs, and `raw_text`
        what the describer answered.
        """
        query = (
            f"SELECT {_COLUMNS} FROM current WHERE ?1 IS NULL OR status = ?1 ORDER BY key, prompt, describer, sample"
        )
        with self._file_errors():
            for row in self._connection.execute(query, (status,)):
                yield Description(*row)

    def current(self, key: str) -> list[Description]:
        """Return what counts of one image, of every status, in the order of (prompt, describer, sample)."""
        query = f"SELECT {_COLUMNS} FROM current WHERE key = ? ORDER BY prompt, describer, sample"
        return [Description(*row) for row in self._all(query, (key,))]

    def attempts_at(self, key: str) -> list[Description]:
        """Return every answer that came for one image, whatever became of it, the oldest first."""
        query = f"SELECT {_COLUMNS} FROM descriptions WHERE key = ? ORDER BY created_at, attempt"
        return [Description(*row) for row in self._all(query, (key,))]

    def add_reviews(self, reviews: Iterable[Review]) -> None:
        """Store what people decided about descriptions; no answer and no earlier decision is changed."""
        statement = f"INSERT INTO reviews ({_REVIEW}) VALUES ({_marks(_REVIEW)})"
        with self._transaction():
            self._connection.executemany(statement, map(attrgetter(*_REVIEW.split(", ")), reviews))

    def reviews(self, key: str) -> list[Review]:
        """Return what people decided about the descriptions of one image, the oldest first."""
        query = f"SELECT {_REVIEW} FROM reviews WHERE key = ? ORDER BY created_at, id"
        return [Review(*row) for row in self._all(query, (key,))]

    def add_label(self, key: str, class_id: str, author: str) -> None:
        """Store which class a person sees in an image, empty to take back what was said before."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO labels (key, class_id, author, created_at) VALUES (?, ?, ?, ?)",
                (key, storable(class_id), storable(author), time.time()),
            )

    def labels(self) -> dict[str, str]:
        """Return the class id that a person gave last, by image key."""
        rows = self._all("SELECT key, class_id FROM labels ORDER BY created_at, id")
        return {key: class_id for key, class_id in dict(rows).items() if class_id}

    def last_reviews(self, prompt: int, describer: int) -> dict[tuple[str, int], Review]:
        """Return people's last decision about each (key, sample) of row ids `prompt` and `describer`."""
        query = f"SELECT {_REVIEW} FROM reviews WHERE prompt = ? AND describer = ? ORDER BY created_at, id"
        found = (Review(*row) for row in self._all(query, (prompt, describer)))
        return {(review.key, review.sample): review for review in found}

    def select(self, where: str | None = None, prompts: Sequence[str] = ()) -> Iterator[Selected]:
        """Yield the usable descriptions that an SQL condition holds for, in the order of (key, prompt, describer, ...).

        Args:
            where: SQLite expression over the columns of the view `usable`, such as
                `prompt = 'class' and clip_score > 0.2`; it can only read.
            prompts: names of the prompts to take; none takes all.

        Raises:
            ConfigError: the expression is wrong, or would do more than read.
            UnknownNameError: the set has no prompt of such a name.
        """
        known = {prompt.name for prompt in self.prompts().values()}
        for name in prompts:
            if name not in known:
                raise UnknownNameError("prompt", name, known, "These are the prompts of the set.")
        names = f"prompt IN ({', '.join('?' * len(prompts))})" if prompts else "1"
        query = f"SELECT {_SELECTED} FROM usable WHERE {names} AND ({where or '1'}\n)"
        with self._file_errors(), self._condition_errors(where):
            cursor = self._read_only(f"{query} ORDER BY key, prompt_id, describer_id, sample", prompts)
            for row in cursor:
                yield Selected(*row)

    def class_texts(self) -> dict[str, list[str]]:
        """Return the usable texts that were asked once a class, by the class's readable name."""
        rows = self._all(
            "SELECT DISTINCT u.class_name, u.text FROM usable AS u JOIN prompts AS p ON p.id = u.prompt_id "
            "WHERE p.per_class AND u.class_name != '' ORDER BY u.class_name, u.text"
        )
        found: dict[str, list[str]] = {}
        for name, text in rows:
            found.setdefault(name, []).append(text)
        return found

    def prompts(self) -> dict[int, Prompt]:
        """Return all prompts by row id."""
        rows = self._all("SELECT id, name, version, template, per_class, confusions FROM prompts")
        return {
            row: Prompt(name, version, template, bool(per_class), json.loads(confusions))
            for row, name, version, template, per_class, confusions in rows
        }

    def describers(self) -> dict[int, DescriberInfo]:
        """Return all describers by row id."""
        rows = self._all("SELECT id, identifier, model, revision, parameters FROM describers")
        return {
            row: DescriberInfo(identifier, model, revision, json.loads(parameters))
            for row, identifier, model, revision, parameters in rows
        }

    def images(self) -> dict[str, tuple[str, str]]:
        """Return key -> (name, class name) as last seen."""
        return {row[0]: (row[1], row[2]) for row in self._all("SELECT key, name, class_name FROM images")}

    def image(self, key: str) -> tuple[str, str] | None:
        """Return (name, class name) of one image as last seen, None where it is not known."""
        found = self._all("SELECT name, class_name FROM images WHERE key = ?", (key,))
        return found[0] if found else None

    def counts(self, prompt: int | None = None, describer: int | None = None, since: float = 0.0) -> dict[str, int]:
        """Return the number of descriptions of each status that occurs.

        Args:
            prompt: row id of the only prompt to count; None counts all.
            describer: row id of the only describer to count; None counts all.
            since: count only what was stored at this time or later, seconds since 1970.
        """
        query = (
            "SELECT status, count(*) FROM current WHERE (?1 IS NULL OR prompt = ?1) AND (?2 IS NULL OR describer = ?2) "
            "AND created_at >= ?3 GROUP BY status"
        )
        return dict(self._all(query, (prompt, describer, since)))

    def reasons(self, prompt: int, describer: int) -> list[Reason]:
        """Return why attempts of `prompt` and `describer` (row ids) were rejected or failed, most frequent first."""
        query = (
            "SELECT status, reason, count(*) AS n, coalesce(name, min(key)), text FROM descriptions LEFT JOIN images "
            "USING (key) WHERE reason != '' AND prompt = ? AND describer = ? GROUP BY status, reason "
            "ORDER BY status = 'ok', n DESC, reason"
        )
        return [Reason(*row) for row in self._all(query, (prompt, describer))]

    def spent(self, prompt: int, describer: int) -> Spent:
        """Return what the questions of `prompt` and `describer` (row ids) took; one about a class counts once.

        Between two answers the describer was at work, unless more than five minutes lie between them: then a run had
        ended, and of the next one only the first answer's own time counts. What it takes to load a model is not in it.
        """
        group = "GROUP BY class_name, sample, attempt" if self.prompts()[prompt].per_class else ""
        query = (
            "SELECT count(*), coalesce(sum(sent) FILTER (WHERE known), 0), coalesce(sum(got) FILTER (WHERE known), 0), "
            "max(sent) FILTER (WHERE known), count(*) FILTER (WHERE NOT known), total(iif(gap <= 300, gap, seconds)) "
            "FROM (SELECT num_prompt_tokens AS sent, num_text_tokens AS got, seconds, num_prompt_tokens + "
            "num_text_tokens IS NOT NULL AS known, created_at - lag(created_at) OVER (ORDER BY created_at, seconds) "
            "AS gap FROM descriptions LEFT JOIN images USING (key) WHERE prompt = ? AND describer = ? AND reason "
            f"NOT LIKE 'unreadable image%' {group})"
        )
        return Spent(*self._all(query, (prompt, describer))[0])

    def reject_same(self, prompt: int, describer: int, limit: int) -> int:
        """Reject the texts that more than `limit` images of several classes share; return how many rows that were.

        Images of one class alone may share a text. `prompt` and `describer` are row ids.
        """
        shared = (
            "SELECT text FROM descriptions JOIN images USING (key) WHERE prompt = ?1 AND describer = ?2 AND "
            "status = 'ok' GROUP BY text HAVING count(DISTINCT key) > ?3 AND "
            "(count(DISTINCT class_name) > 1 OR max(class_name) = '')"
        )
        update = (
            "UPDATE descriptions SET status = 'rejected', reason = ?4 WHERE prompt = ?1 AND describer = ?2 AND "
            f"status = 'ok' AND text IN ({shared})"
        )
        with self._transaction():
            reason = f"the same text for more than {limit} images"
            return self._connection.execute(update, (prompt, describer, limit, reason)).rowcount

    @property
    def clip_score_model(self) -> str:
        """The model that made the CLIP scores, empty where there are none."""
        found = self._all("SELECT value FROM meta WHERE name = 'clip_score_model'")
        return str(found[0][0]) if found else ""

    def begin_clip_scores(self, model: str) -> None:
        """Remember the model that scores; scores of another one are removed, since they cannot be compared."""
        if self.clip_score_model == model:
            return
        with self._transaction():
            self._connection.execute("UPDATE descriptions SET clip_score = NULL WHERE clip_score IS NOT NULL")
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('clip_score_model', ?)", (model,))

    def set_clip_scores(self, scores: Iterable[tuple[float, Description]]) -> None:
        """Store `scores`, the CLIP score of each description, a cosine from -1 to 1."""
        statement = (
            "UPDATE descriptions SET clip_score = ? WHERE (key, prompt, describer, sample, attempt) = (?, ?, ?, ?, ?)"
        )
        with self._transaction():
            rows = ((score, d.key, d.prompt, d.describer, d.sample, d.attempt) for score, d in scores)
            self._connection.executemany(statement, rows)

    @contextmanager
    def attached(self, source: Path) -> Generator[sqlite3.Connection]:
        """Yield a connection that sees another set as the schema `there`, in one transaction."""
        with self._file_errors():
            self._connection.execute("ATTACH DATABASE ? AS there", (str(source),))
            try:
                with self._transaction():
                    yield self._connection
            finally:
                self._connection.execute("DETACH DATABASE there")

    def check(self) -> None:
        """Read the whole file.

        Raises:
            DamagedSetError: it is damaged.
        """
        found = self._all("PRAGMA quick_check(1)")[0][0]
        if found != "ok":
            raise self._damaged(str(found))

    def _add(self, table: str, names: str, row: tuple[object, ...]) -> int:
        query = f"INSERT INTO {table} ({names}) VALUES ({_marks(names)}) ON CONFLICT DO UPDATE SET id = id RETURNING id"
        return int(self._all(query, row)[0][0])

    def _all(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._file_errors():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._file_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def _read_only(self, query: str, values: Sequence[object]) -> sqlite3.Cursor:
        """Run a query that holds a user's text; it may read and call functions, nothing else."""
        allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
        deny, ok = sqlite3.SQLITE_DENY, sqlite3.SQLITE_OK
        self._connection.set_authorizer(lambda action, *_: ok if action in allowed else deny)
        try:
            return self._connection.execute(query, tuple(values))
        finally:
            self._connection.set_authorizer(None)

    @contextmanager
    def _condition_errors(self, where: str | None) -> Generator[None]:
        """Tell what is wrong with a user's condition."""
        try:
            yield
        except (sqlite3.DatabaseError, sqlite3.Warning) as error:
            if where is None or any(trouble in str(error) for trouble in _FILE_TROUBLE):
                raise
            columns = ", ".join(row[0] for row in self._connection.execute("SELECT * FROM usable LIMIT 0").description)
            raise ConfigError(f"--where {where!r} is not a usable condition: {error}. Columns: {columns}.") from None

    @contextmanager
    def _file_errors(self) -> Generator[None]:
        """Turn what SQLite raises about disks and files into errors that say what to do."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            text = str(error)
            if "full" in text or "disk I/O" in text:
                trouble = "the disk is full" if "full" in text else f"the disk reports an error ({text})"
                raise ArtifactError(
                    f"{self.path} cannot be written: {trouble}. What was stored before is kept; the same command goes "
                    "on from there once that is put right."
                ) from None
            if "unable to open" in text or "readonly" in text:
                raise ArtifactError(f"{self.path} cannot be opened for writing ({text}).") from None
            raise
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, reason: str) -> DamagedSetError:
        return DamagedSetError(
            f"{self.path} is damaged, or no description set ({' '.join(reason.split())}). Go back to a copy of it, or "
            f"save what can still be read: sightwords merge {self.path} --out RESCUED.db"
        )


def _marks(columns: str) -> str:
    return ", ".join("?" for _ in columns.split(", "))


def embed_command(path: Path) -> str:
    """Return the command that turns the texts of a set into vectors, in a folder beside it."""
    return shlex.join(["sightwords", "embed", str(path), "--out", str(path.with_name(f"{path.stem}-embeddings"))])
