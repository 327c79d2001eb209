"""An index beside a description set, for looking at it: paging, filters and full-text search over millions of rows.

It is a file of its own that can be built again, so the user's set stays as small as it was and a run that describes is
not slowed down. It follows the set while other processes write to it: new answers and reviews by their row numbers, at
once; changes in place (CLIP scores, texts rejected because many images share them) by comparing all of it in parts.

A description's number is image number * 65536 + number of its (prompt, describer, sample): what is in the order of
numbers is in the order in which images were first described, the descriptions of one image together.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError

SLOTS = 65_536  # most (prompt, describer, sample) of a set
_VERSION = 1
# rows of one transaction; the first one is small, so that there is soon something to see
_FIRST, _CHUNK = 2_000, 10_000
_NUM_PROBES = 16
_PAUSE_S = 20.0  # between two times that everything is compared

_SCHEMA = f"""
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO state VALUES ('row', 0), ('review', 0);
CREATE TABLE images (no INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE slots (no INTEGER PRIMARY KEY, prompt INTEGER, describer INTEGER, sample INTEGER,
    UNIQUE (prompt, describer, sample));
CREATE TABLE texts (
    id INTEGER PRIMARY KEY, row INTEGER NOT NULL, class_name TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
    clip_score REAL, num_words INTEGER NOT NULL, digest INTEGER NOT NULL);
CREATE INDEX by_row ON texts (row);
CREATE INDEX by_class ON texts (class_name, status);
CREATE INDEX by_status ON texts (status);
CREATE INDEX by_reason ON texts (reason);
CREATE INDEX by_clip_score ON texts (clip_score);
CREATE INDEX by_digest ON texts (digest);
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'porter unicode61 remove_diacritics 2');
PRAGMA user_version = {_VERSION};
"""
_BATCH = """
CREATE TEMP TABLE batch AS SELECT c.row, c.key, c.prompt, c.describer, c.sample, c.text, c.status, c.reason,
    c.clip_score, coalesce(i.class_name, '') AS class_name
    FROM there.current AS c LEFT JOIN there.images AS i ON i.key = c.key WHERE {condition} ORDER BY c.row
"""
_STORE = (
    "INSERT OR IGNORE INTO slots (prompt, describer, sample) SELECT DISTINCT prompt, describer, sample FROM batch",
    "INSERT OR IGNORE INTO main.images (key) SELECT key FROM batch ORDER BY row",
    f"""CREATE TEMP TABLE numbered AS SELECT i.no * {SLOTS} + s.no AS id, b.* FROM batch AS b
        JOIN main.images AS i ON i.key = b.key
        JOIN slots AS s ON (s.prompt, s.describer, s.sample) = (b.prompt, b.describer, b.sample)""",
    """INSERT OR REPLACE INTO texts SELECT id, row, class_name, status, reason, clip_score,
        CASE WHEN text = '' THEN 0 ELSE length(text) - length(replace(text, ' ', '')) + 1 END, digest(text)
        FROM numbered""",
    "INSERT OR REPLACE INTO words (rowid, text) SELECT id, text FROM numbered",
    "DROP TABLE numbered",
    "DROP TABLE batch",
)
_COMPARE = """
CREATE TEMP TABLE changed AS SELECT DISTINCT c.key FROM there.current AS c LEFT JOIN there.images AS i ON i.key = c.key
    LEFT JOIN texts AS t ON t.row = c.row WHERE c.row > ?1 AND c.row <= ?2 AND
    (t.status, t.reason, t.clip_score, t.class_name)
    IS NOT (c.status, c.reason, c.clip_score, coalesce(i.class_name, ''))
"""
_GONE = (
    "SELECT t.id FROM texts AS t WHERE t.row > ?1 AND t.row <= ?2 "
    "AND NOT EXISTS (SELECT 1 FROM there.descriptions AS d WHERE d.rowid = t.row)"
)
_PROBE = f"""
SELECT sum(i.key IS d.key), count(*) FROM texts AS t JOIN main.images AS i ON i.no = t.id / {SLOTS}
    LEFT JOIN there.descriptions AS d ON d.rowid = t.row
    WHERE t.row IN (SELECT row FROM texts INDEXED BY by_row WHERE row % ? = 0)
"""
WORD = re.compile(r"\w+")


class DescriptionIndex:
    """The index of one description set; it may be used by several threads.

    Args:
        path: the description set.
        folder: where indices are kept.

    Raises:
        ArtifactError: there is no description set, or the disk is full.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        with DescriptionSet(path):
            pass  # it is one, and has the tables of this version
        self.path = Path(path).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{hashlib.sha256(str(self.path).encode()).hexdigest()[:32]}.sqlite"
        self._threads = threading.local()
        self._writing = threading.Lock()
        self._compared_at, self._version = -1e9, -1  # when everything was compared, and the set's version then
        self._next_row: int | None = None  # where comparing goes on; None where all is compared
        self._analyzed = 0
        with self._errors():
            if not self._is_of_this_set():
                self._remove()
                self._connection()

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Yield this thread's connection; it sees the set as the schema `there`.

        Raises:
            ArtifactError: the index or the set cannot be read.
        """
        with self._errors():
            yield self._connection()

    def sync(self) -> bool:
        """Store what the set gained since the last time, at most one part of it; return whether there is more.

        Raises:
            ArtifactError: the disk is full, or the set cannot be read.
        """
        with self._errors(), self._writing:
            if self._follow():
                return True
            self._compare()
        return False

    def refresh(self, key: str) -> None:
        """Store the current descriptions of one image."""
        with self._errors(), self._writing, self._transaction() as connection:
            self._store(connection, "c.key = ?", (key,))

    def progress(self) -> tuple[int, int]:
        """Return the number of the last row that is indexed, and that of the last row of the set."""
        with self.reading() as connection:
            done = _state(connection, "row")
            return done, max(done, _last_row(connection))

    def _follow(self) -> bool:
        """Store the next rows and reviews of the set; return whether there are more rows."""
        with self._transaction() as connection:
            done, last = _state(connection, "row"), _last_row(connection)
            upto = min(last, done + (_CHUNK if done else _FIRST))
            if upto > done:
                self._store(connection, "c.row > ? AND c.row <= ?", (done, upto))
            reviewed = _state(connection, "review")
            [last_review] = connection.execute("SELECT coalesce(max(id), 0) FROM there.reviews").fetchone()
            if last_review > reviewed:
                self._store(connection, "c.key IN (SELECT key FROM there.reviews WHERE id > ?)", (reviewed,))
            values = (("row", max(done, upto)), ("review", last_review))
            connection.executemany("UPDATE state SET value = ?2 WHERE name = ?1", values)
        if upto == last and last > 2 * self._analyzed:  # the choice among indices rests on how many rows they name
            self._analyzed = last
            self._connection().executescript("PRAGMA analysis_limit = 1000; ANALYZE main")
        return upto < last

    def _store(self, connection: sqlite3.Connection, condition: str, values: tuple[object, ...]) -> None:
        connection.execute(_BATCH.format(condition=condition), values)
        for statement in _STORE:
            connection.execute(statement)

    def _compare(self) -> None:
        """Find what was changed in place, or is gone, in the next part of the set, and store that."""
        connection = self._connection()
        version = int(connection.execute("PRAGMA there.data_version").fetchone()[0])
        if self._next_row is None and version != self._version and time.monotonic() - self._compared_at >= _PAUSE_S:
            self._next_row, self._version = 0, version
        if self._next_row is None:
            return
        ends = (self._next_row, self._next_row + _CHUNK)
        connection.execute(_COMPARE, ends)
        gone = connection.execute(_GONE, ends).fetchall()
        try:
            if gone or connection.execute("SELECT 1 FROM changed").fetchone():
                with self._transaction():
                    self._store(connection, "c.key IN (SELECT key FROM changed)", ())
                    for table, column in (("texts", "id"), ("words", "rowid")):
                        connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", gone)
        finally:
            connection.execute("DROP TABLE changed")
        self._next_row = ends[1]
        if ends[1] >= _state(connection, "row"):
            self._next_row, self._compared_at = None, time.monotonic()

    def _is_of_this_set(self) -> bool:
        """Return whether the file's rows are those of the set: another set may lie at this path by now."""
        try:
            connection = self._connection()
            if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                return False
            last = _state(connection, "row")
            same, num_probes = connection.execute(_PROBE, (max(1, last // _NUM_PROBES),)).fetchone()
            # some rows may have been replaced while nobody looked
            return bool(last <= _last_row(connection) and (same or 0) >= 0.75 * num_probes)
        except sqlite3.OperationalError:  # locked, or no room: not its contents
            raise
        except sqlite3.DatabaseError:
            return False

    def _remove(self) -> None:
        found: sqlite3.Connection | None = self._threads.__dict__.pop("connection", None)
        if found is not None:
            found.close()
        for ending in ("", "-wal", "-shm"):
            self.file.with_name(self.file.name + ending).unlink(missing_ok=True)

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if found is None:
            found = sqlite3.connect(self.file, timeout=60, isolation_level=None, uri=True)
            found.create_function("digest", 1, _digest, deterministic=True)
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536", "temp_store=MEMORY"):
                found.execute(f"PRAGMA {pragma}")
            if found.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                found.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            found.execute("ATTACH DATABASE ? AS there", (f"{self.path.as_uri()}?mode=ro",))
            self._threads.connection = found
        return found

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise ArtifactError(
                f"The index {self.file} of {self.path} cannot be used ({error}). Free some space if the disk is full, "
                "or remove the file: it is built again."
            ) from None


def _state(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()[0])


def _last_row(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(rowid), 0) FROM there.descriptions").fetchone()[0])


def _digest(text: str) -> int:
    """Return a number that texts share which differ in case, spaces and punctuation alone; 0 for no text."""
    words = " ".join(WORD.findall(text.casefold()))
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big", signed=True) if words else 0
