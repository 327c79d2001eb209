"""`sightwords merge`: bring description sets together, and save what can be read of damaged ones."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightwords.descriptions.config import MergeConfig
from sightwords.descriptions.store import DescriptionSet, embed_command
from sightwords.errors import ArtifactError, DamagedSetError
from sightwords.files import atomic_path

# `there` is the attached set; prompt_of and describer_of map its row ids to ours
_COPIED = (
    "key, text, raw_text, status, reason, num_prompt_tokens, num_text_tokens, seconds, created_at, sample, "
    "prompt, describer, attempt, clip_score"
)
_VALUES = (
    "s.key, s.text, s.raw_text, s.status, s.reason, s.num_prompt_tokens, s.num_text_tokens, s.seconds, s.created_at, "
    "s.sample, p.ours, d.ours, {attempt}, CASE WHEN :same_scores THEN s.clip_score END"
)
_SOURCE = "JOIN prompt_of AS p ON p.theirs = s.prompt JOIN describer_of AS d ON d.theirs = s.describer"
_SAME = "(t.key, t.prompt, t.describer, t.sample) = (s.key, p.ours, d.ours, s.sample)"
_RANK = "CASE {row}.status WHEN 'ok' THEN 2 WHEN 'rejected' THEN 1 ELSE 0 END"
_BETTER = f"{_RANK.format(row='s')} > {_RANK.format(row='t')}"

_COUNT_DIFFERENT = (
    f"SELECT count(*) FROM there.latest AS s {_SOURCE} JOIN main.latest AS t ON {_SAME} "
    "WHERE s.status = 'ok' AND t.status = 'ok' AND s.text != t.text"
)
_ADD_BETTER = (
    f"INSERT INTO main.descriptions ({_COPIED}) SELECT {_VALUES.format(attempt='t.attempt + 1')} "
    f"FROM there.latest AS s {_SOURCE} JOIN main.latest AS t ON {_SAME} WHERE {_BETTER}"
)
_ADD_NEW = (
    f"INSERT INTO main.descriptions ({_COPIED}) SELECT {_VALUES.format(attempt='s.attempt')} "
    f"FROM there.descriptions AS s {_SOURCE} WHERE NOT EXISTS (SELECT 1 FROM main.descriptions AS t WHERE {_SAME})"
)
# A decision follows the text that it was about: to the attempt that has it here. An edit needs none.
_TEXT_HERE = (
    "(SELECT max(t.attempt) FROM main.descriptions AS t JOIN there.descriptions AS o ON (o.key, o.prompt, o.describer, "
    f"o.sample, o.attempt) = (s.key, s.prompt, s.describer, s.sample, s.attempt) WHERE {_SAME} AND t.text = o.text)"
)
_ADD_REVIEWS = (
    "INSERT INTO main.reviews (key, prompt, describer, sample, attempt, action, author, text, created_at) "
    f"SELECT s.key, p.ours, d.ours, s.sample, coalesce({_TEXT_HERE}, -1), s.action, s.author, s.text, s.created_at "
    f"FROM there.reviews AS s {_SOURCE} WHERE NOT EXISTS (SELECT 1 FROM main.reviews AS t WHERE {_SAME} "
    "AND (t.action, t.author, t.created_at) = (s.action, s.author, s.created_at)) ORDER BY s.id"
)


_ADD_LABELS = (
    "INSERT INTO main.labels (key, class_id, author, created_at) SELECT key, class_id, author, created_at "
    "FROM there.labels AS s WHERE NOT EXISTS (SELECT 1 FROM main.labels AS t WHERE (t.key, t.class_id, t.author, "
    "t.created_at) = (s.key, s.class_id, s.author, s.created_at)) ORDER BY s.id"
)


_TABLES = ("prompts", "describers", "meta", "images", "descriptions", "reviews", "labels")
_PART = 200  # rows that are read at once; one bad page costs at most those between two bad ones
_SMALLEST = 64  # no row takes fewer bytes


@dataclass(frozen=True)
class MergeCounts:
    """What one set took over from another.

    Attributes:
        num_new: answers that it had not, attempts counted.
        num_better: descriptions whose answer it lacked, or had rejected, and that the other one has.
        num_different: descriptions that both have with different texts; its own stay.
    """

    num_new: int
    num_better: int
    num_different: int


@dataclass
class MergeResult:
    """What a merge did.

    Attributes:
        out: the set that holds everything.
        taken: source -> what was taken over from it.
        rescued: damaged source -> number of descriptions that could still be read.
        num_usable: usable descriptions that the set holds now.
    """

    out: Path
    taken: dict[Path, MergeCounts] = field(default_factory=dict)
    rescued: dict[Path, int] = field(default_factory=dict)
    num_usable: int = 0

    @property
    def next_command(self) -> str:
        """The command to run next."""
        return embed_command(self.out)

    def summary(self) -> str:
        """Return what was taken over, a line for each source."""
        lines = [f"Wrote {self.out}: {self.num_usable} usable descriptions"]
        for source, counts in self.taken.items():
            line = f"  {source}: {counts.num_new} new answers, {counts.num_better} in place of missing or rejected ones"
            if counts.num_different:
                line += f"; {counts.num_different} are there with another text, which stays"
            lines.append(line)
        for source, number in self.rescued.items():
            lines.append(f"  {source} is damaged: {number} answers could still be read; describe asks for the others")
        return "\n".join(lines)


def merge(config: MergeConfig) -> MergeResult:
    """Merge the sources into `config.out`, or into the first of them.

    Raises:
        ArtifactError: a source is missing or cannot be read at all, or the disk is full. A new set is written in one
            step; the first source takes over each of the others whole or not at all.
    """
    for source in config.sources:
        if not source.is_file():
            raise ArtifactError(f"There is no description set at {source}.")
    if config.out is None:
        return _merge(MergeResult(config.sources[0]), config.sources[0], config.sources[1:])
    with atomic_path(config.out) as temporary:
        return _merge(MergeResult(config.out), temporary, config.sources)


def _merge(result: MergeResult, into: Path, sources: list[Path]) -> MergeResult:
    with DescriptionSet(into, create=True) as target:
        for source in sources:
            with _readable_set(source, result) as whole:
                result.taken[source] = merge_into(target, whole)
        result.num_usable = target.counts().get("ok", 0)
    return result


@contextmanager
def _readable_set(source: Path, result: MergeResult) -> Generator[Path]:
    """Yield the source, or a set of what can be read of it."""
    try:
        with DescriptionSet(source) as store:
            store.check()
    except DamagedSetError:
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "rescued.db"
            result.rescued[source] = rescue(source, whole)
            yield whole
        return
    yield source


def merge_into(target: DescriptionSet, source: Path) -> MergeCounts:
    """Take over what `source` has, in one transaction.

    A description that both sets have keeps the target's answer, unless only the source's is usable: then that one
    follows as a further attempt. What people decided is taken over; of decisions about one description the last counts.
    CLIP scores of another model than the target's are left out.

    Args:
        target: the set that grows.
        source: file of a whole description set of the same version.

    Raises:
        ArtifactError: the source is not a description set, or the disk is full; the target is as it was.
    """
    with DescriptionSet(source) as other:
        prompts = [(row, target.add_prompt(prompt)) for row, prompt in other.prompts().items()]
        describers = [(row, target.add_describer(info)) for row, info in other.describers().items()]
        model = other.clip_score_model
    same_scores = target.clip_score_model in ("", model)
    if model and same_scores:
        target.begin_clip_scores(model)
    with target.attached(source) as connection, closing(connection.cursor()) as cursor:
        for table, pairs in (("prompt_of", prompts), ("describer_of", describers)):
            cursor.execute(f"CREATE TEMP TABLE {table} (theirs INTEGER PRIMARY KEY, ours INTEGER NOT NULL)")
            cursor.executemany(f"INSERT INTO {table} VALUES (?, ?)", pairs)
        num_different = int(cursor.execute(_COUNT_DIFFERENT).fetchone()[0])
        num_better = cursor.execute(_ADD_BETTER, {"same_scores": same_scores}).rowcount
        num_new = cursor.execute(_ADD_NEW, {"same_scores": same_scores}).rowcount
        cursor.execute(_ADD_REVIEWS)
        cursor.execute(_ADD_LABELS)
        cursor.execute("INSERT OR IGNORE INTO main.images SELECT * FROM there.images")
        for table in ("prompt_of", "describer_of"):
            cursor.execute(f"DROP TABLE {table}")
    return MergeCounts(num_new, num_better, num_different)


def rescue(damaged: Path, rescued: Path) -> int:
    """Copy every row that can be read into a new set; return how many descriptions that were.

    The tables are read part by part, each from both ends up to the damage, so that one bad page costs a page.

    Args:
        damaged: the damaged file; it is only read.
        rescued: the new file.

    Raises:
        ArtifactError: nothing can be read.
    """
    with DescriptionSet(rescued, create=True):
        pass  # makes the tables
    most = damaged.stat().st_size // _SMALLEST
    try:
        uri = f"file:{damaged.resolve().as_posix()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(rescued)) as target:
            source.execute("PRAGMA writable_schema = ON")  # SQLite then opens a file that is shorter than it says
            for table in _TABLES:
                _copy(source, target, table, most)
            num_rows = int(target.execute("SELECT count(*) FROM descriptions").fetchone()[0])
            for table in ("descriptions", "reviews"):  # what lost its prompt or describer is of no use
                target.execute(f"DELETE FROM {table} WHERE prompt NOT IN (SELECT id FROM prompts)")
                target.execute(f"DELETE FROM {table} WHERE describer NOT IN (SELECT id FROM describers)")
            target.commit()
    except sqlite3.DatabaseError as error:
        raise ArtifactError(f"Nothing in {damaged} can be read ({error}). Go back to a copy of it.") from None
    return num_rows


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str, most: int) -> None:
    columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    statement = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    query = f"SELECT {', '.join(columns)} FROM {table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
    source.execute(query, (0, 0))  # raises where the file is not a database at all
    with suppress(sqlite3.DatabaseError):  # else as many as fit into the file
        most = int(source.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()[0])
    for start in range(1, most + 1, _PART):
        target.executemany(statement, _readable(source, query, (start, start + _PART - 1)))


def _readable(source: sqlite3.Connection, query: str, ends: tuple[int, int]) -> list[tuple[Any, ...]]:
    """Return the rows before the first and behind the last damage."""
    rows: list[tuple[Any, ...]] = []
    for direction in ("ASC", "DESC"):
        try:
            for row in source.execute(f"{query} {direction}", ends):
                rows.append(row)
            break
        except sqlite3.DatabaseError:
            continue
    return rows
