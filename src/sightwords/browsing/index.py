"""An index beside a description set, for looking at it: paging, filters and full-text search over millions of rows.

It lives in a file of its own that can be made again, so that the user's set stays as small as it was and a run that
describes is not slowed down. It follows the set, also while other processes write to it: new answers and decisions by
their row numbers, at once; changes in place (CLIP scores, texts that many images share) by comparing all of it,
part after part.

A description's number is image number * 65536 + number of its (prompt, describer, sample): what is in the order of
numbers is in the order in which images were first described, the descriptions of one image together.
"""

from __future__ import annotations

import hashlib
import math
import re
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError

SLOTS = 65_536  # most (prompt, describer, sample) of a set that are told apart
_VERSION = 1
# rows of one transaction; the first one is small, so that there is soon something to see
_FIRST, _CHUNK = 2_000, 10_000
_PROBES = 16
_PAUSE_S = 20.0  # between two times that everything is compared

_SCHEMA = f"""
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO state VALUES ('row', 0), ('review', 0);
CREATE TABLE images (no INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE);
CREATE TABLE slots (no INTEGER PRIMARY KEY, prompt INTEGER, describer INTEGER, sample INTEGER,
    UNIQUE (prompt, describer, sample));
CREATE TABLE classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE reasons (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE texts (
    id INTEGER PRIMARY KEY, row INTEGER NOT NULL, attempt INTEGER NOT NULL, class INTEGER NOT NULL,
    status TEXT NOT NULL, reason INTEGER NOT NULL, clip_score REAL, num_words INTEGER NOT NULL,
    digest INTEGER NOT NULL);
CREATE INDEX by_row ON texts (row);
CREATE INDEX by_class ON texts (class, status);
CREATE INDEX by_status ON texts (status);
CREATE INDEX by_reason ON texts (reason);
CREATE INDEX by_clip_score ON texts (clip_score);
CREATE INDEX by_digest ON texts (digest);
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'porter unicode61 remove_diacritics 2');
PRAGMA user_version = {_VERSION};
"""
_BATCH = """
CREATE TEMP TABLE batch AS SELECT c.row, c.key, c.prompt, c.describer, c.sample, c.attempt, c.text, c.status, c.reason,
    c.clip_score, coalesce(i.class_name, '') AS class_name
    FROM there.current AS c LEFT JOIN there.images AS i ON i.key = c.key WHERE {condition} ORDER BY c.row
"""
_TAKE_OVER = (
    "INSERT OR IGNORE INTO slots (prompt, describer, sample) SELECT DISTINCT prompt, describer, sample FROM batch",
    "INSERT OR IGNORE INTO classes (name) SELECT DISTINCT class_name FROM batch",
    "INSERT OR IGNORE INTO reasons (name) SELECT DISTINCT reason FROM batch",
    "INSERT OR IGNORE INTO main.images (key) SELECT key_bytes(key) FROM batch ORDER BY row",
    f"""CREATE TEMP TABLE numbered AS SELECT i.no * {SLOTS} + s.no AS id, b.row, b.attempt, c.id AS class, b.status,
        r.id AS reason, b.clip_score, b.text FROM batch AS b JOIN main.images AS i ON i.key = key_bytes(b.key)
        JOIN slots AS s ON (s.prompt, s.describer, s.sample) = (b.prompt, b.describer, b.sample)
        JOIN classes AS c ON c.name = b.class_name JOIN reasons AS r ON r.name = b.reason""",
    """INSERT OR REPLACE INTO texts SELECT id, row, attempt, class, status, reason, clip_score,
        CASE WHEN text = '' THEN 0 ELSE length(text) - length(replace(text, ' ', '')) + 1 END, digest(text)
        FROM numbered""",
    "INSERT OR REPLACE INTO words (rowid, text) SELECT id, text FROM numbered",
    "DROP TABLE numbered",
    "DROP TABLE batch",
)
_COMPARE = """
CREATE TEMP TABLE changed AS SELECT DISTINCT c.key FROM there.current AS c LEFT JOIN there.images AS i ON i.key = c.key
    LEFT JOIN texts AS t ON t.row = c.row LEFT JOIN classes AS k ON k.id = t.class
    LEFT JOIN reasons AS r ON r.id = t.reason
    WHERE c.row > ?1 AND c.row <= ?2 AND (t.status, r.name, t.clip_score, k.name) IS NOT
    (c.status, c.reason, c.clip_score, coalesce(i.class_name, ''))
"""
_GONE = (
    "SELECT t.id FROM texts AS t WHERE t.row > ?1 AND t.row <= ?2 "
    "AND NOT EXISTS (SELECT 1 FROM there.descriptions AS d WHERE d.rowid = t.row)"
)
_WORD = re.compile(r"\w+")


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
        self._open_file()

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Yield this thread's connection; it sees the set as the schema `there`.

        Raises:
            ArtifactError: the index or the set cannot be read.
        """
        with self._told():
            yield self._connection()

    def sync(self) -> bool:
        """Take over what the set has got since the last time, at most one part of it; return whether there is more.

        Raises:
            ArtifactError: the disk is full, or the set cannot be read.
        """
        with self._told(), self._writing:
            if self._follow():
                return True
            self._compare()
        return False

    def refresh(self, key: str) -> None:
        """Take over what counts of one image now."""
        with self._told(), self._writing, self._transaction() as connection:
            self._take_over(connection, "c.key = ?", (key,))

    def progress(self) -> tuple[int, int]:
        """Return the number of the last row that is indexed, and that of the last row of the set."""
        with self.reading() as connection:
            done = _state(connection, "row")
            return done, max(done, _last_row(connection))

    def _follow(self) -> bool:
        with self._transaction() as connection:
            done, last = _state(connection, "row"), _last_row(connection)
            upto = min(last, done + (_CHUNK if done else _FIRST))
            if upto > done:
                self._take_over(connection, "c.row > ? AND c.row <= ?", (done, upto))
                connection.execute("UPDATE state SET value = ? WHERE name = 'row'", (upto,))
            self._take_over_reviews(connection)
        if upto == last and last > 2 * self._analyzed:  # the choice among indices rests on how many rows they name
            self._analyzed = last
            self._connection().execute("PRAGMA analysis_limit = 1000")
            self._connection().execute("ANALYZE main")
        return upto < last

    def _take_over_reviews(self, connection: sqlite3.Connection) -> None:
        done = _state(connection, "review")
        last = int(connection.execute("SELECT coalesce(max(id), 0) FROM there.reviews").fetchone()[0])
        if last > done:
            self._take_over(connection, "c.key IN (SELECT key FROM there.reviews WHERE id > ?)", (done,))
            connection.execute("UPDATE state SET value = ? WHERE name = 'review'", (last,))

    def _take_over(self, connection: sqlite3.Connection, condition: str, values: tuple[object, ...]) -> None:
        connection.execute(_BATCH.format(condition=condition), values)
        for statement in _TAKE_OVER:
            connection.execute(statement)

    def _compare(self) -> None:
        """Find what was changed in place, or is gone, in the next part of the set, and take that over."""
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
                    self._take_over(connection, "c.key IN (SELECT key FROM changed)", ())
                    for table, column in (("texts", "id"), ("words", "rowid")):
                        connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", gone)
        finally:
            connection.execute("DROP TABLE changed")
        self._next_row = ends[1]
        if ends[1] >= _state(connection, "row"):
            self._next_row, self._compared_at = None, time.monotonic()

    def _open_file(self) -> None:
        with self._told():
            try:
                whole = self._is_of_this_set()
            except sqlite3.OperationalError:  # locked, or no room: not its contents
                raise
            except sqlite3.DatabaseError:
                whole = False
            if not whole:
                self._close()
                for ending in ("", "-wal", "-shm"):
                    self.file.with_name(self.file.name + ending).unlink(missing_ok=True)
                self._connection()

    def _is_of_this_set(self) -> bool:
        """Return whether the file's rows are those of the set: another set may lie at this path by now."""
        connection = self._connection()
        if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            return False
        last = _state(connection, "row")
        if last > _last_row(connection):
            return False
        probes = range(1, last + 1, max(1, last // _PROBES))
        seen = [_same(connection, row) for row in probes]
        return seen.count(False) <= len(seen) // 4  # some rows were replaced while nobody looked

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if found is None:
            found = sqlite3.connect(self.file, timeout=60, isolation_level=None, uri=True)
            found.create_function("key_bytes", 1, key_bytes, deterministic=True)
            found.create_function("digest", 1, _digest, deterministic=True)
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536", "temp_store=MEMORY"):
                found.execute(f"PRAGMA {pragma}")
            if found.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                found.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            found.execute("ATTACH DATABASE ? AS there", (f"{self.path.as_uri()}?mode=ro",))
            self._threads.connection = found
        return found

    def _close(self) -> None:
        found: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if found is not None:
            found.close()
            self._threads.connection = None

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
    def _told(self) -> Generator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise ArtifactError(
                f"The index {self.file} of {self.path} cannot be used ({error}). It can be made again: free some space "
                "if the disk is full, remove the file, and start again."
            ) from None


def _state(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()[0])


def _last_row(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(rowid), 0) FROM there.descriptions").fetchone()[0])


def _same(connection: sqlite3.Connection, row: int) -> bool:
    """Return whether a row of the index is about the image that the set's row is about; True where it has none."""
    query = (
        f"SELECT i.key, d.key FROM texts AS t JOIN main.images AS i ON i.no = t.id / {SLOTS} "
        "LEFT JOIN there.descriptions AS d ON d.rowid = t.row WHERE t.row = ?"
    )
    found = connection.execute(query, (row,)).fetchone()
    return found is None or (found[1] is not None and found[0] == key_bytes(found[1]))


def key_bytes(key: str) -> bytes | str:
    """Return a key as the index has it: half as large."""
    try:
        return bytes.fromhex(key)
    except ValueError:
        return key


def _digest(text: str) -> int:
    """Return a number that texts share which differ in case, spaces and punctuation alone; 0 for no text."""
    words = " ".join(_WORD.findall(text.casefold()))
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big", signed=True) if words else 0


@dataclass(frozen=True)
class Sampled:
    """A usable description of a sample.

    Attributes:
        key: key of the image.
        class_name: of the image, empty where it has none.
        text: the description.
    """

    key: str
    class_name: str
    text: str


@dataclass(frozen=True)
class Repeated:
    """A text that several descriptions share, case, spaces and punctuation aside.

    Attributes:
        digest: number that they share, for `Filter.same_as`.
        num_descriptions: how many they are.
        key: key of one of the images.
        text: its text.
    """

    digest: int
    num_descriptions: int
    key: str
    text: str


def num_descriptions(index: DescriptionIndex) -> tuple[int, int]:
    """Return the number of descriptions and of images that are indexed."""
    with index.reading() as connection:
        row = connection.execute("SELECT (SELECT count(*) FROM texts), (SELECT count(*) FROM main.images)").fetchone()
    return int(row[0]), int(row[1])


def lengths(index: DescriptionIndex, width: int) -> dict[int, int]:
    """Return first number of words of each interval of `width` numbers -> number of usable descriptions."""
    query = (
        "SELECT num_words / ?1 * ?1 AS first, count(*) FROM texts WHERE status = 'ok' AND num_words > 0 GROUP BY first"
    )
    with index.reading() as connection:
        return dict(connection.execute(query, (width,)).fetchall())


def clip_scores(index: DescriptionIndex, width: float) -> dict[int, int]:
    """Return number of the interval of `width` -> number of descriptions with a CLIP score in it."""
    # not every SQLite has floor(), and CAST cuts towards zero: what is below is moved up into the positive first
    query = (
        "SELECT CAST(clip_score / ?1 + ?2 AS INTEGER) - ?2 AS place, count(*) FROM texts "
        "WHERE clip_score IS NOT NULL GROUP BY place"
    )
    with index.reading() as connection:
        return dict(connection.execute(query, (width, math.ceil(1 / width))).fetchall())


def sample(index: DescriptionIndex, most: int) -> list[Sampled]:
    """Return at most `most` usable descriptions, from all of the set alike."""
    query = (
        "SELECT i.key, k.name, w.text FROM texts AS t JOIN classes AS k ON k.id = t.class "
        f"JOIN main.images AS i ON i.no = t.id / {SLOTS} JOIN words AS w ON w.rowid = t.id "
        "WHERE t.row IN (SELECT row FROM texts INDEXED BY by_row WHERE row % ? = 0) AND t.status = 'ok' LIMIT ?"
    )
    with index.reading() as connection:
        [num_rows] = connection.execute("SELECT coalesce(max(row), 0) FROM texts").fetchone()
        rows = connection.execute(query, (max(1, -(-num_rows // most)), most)).fetchall()
    return [Sampled(key if isinstance(key, str) else key.hex(), name, text) for key, name, text in rows]


def repeated(index: DescriptionIndex, most: int) -> list[Repeated]:
    """Return the texts that most descriptions share, the most frequent first."""
    query = (
        "SELECT g.digest, g.n, i.key, w.text FROM (SELECT digest, count(*) AS n, min(id) AS id FROM texts "
        "WHERE digest != 0 GROUP BY digest HAVING n > 1 ORDER BY n DESC LIMIT ?) AS g "
        f"JOIN main.images AS i ON i.no = g.id / {SLOTS} JOIN words AS w ON w.rowid = g.id ORDER BY g.n DESC"
    )
    with index.reading() as connection:
        rows = connection.execute(query, (most,)).fetchall()
    return [Repeated(digest, n, key if isinstance(key, str) else key.hex(), text) for digest, n, key, text in rows]
