"""The tables of a description set, and how a set of an earlier version gets those it lacks."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sightwords.errors import ArtifactError

SCHEMA_VERSION = 3
_NO_REVIEWS = 2  # the version before people could decide about descriptions

# The attempts at a description are rows of their own, so that no answer that was paid for is overwritten; the last one
# counts. The tables have row ids: rows are large, and a damaged file can be read part by part (see rescue.py).
_TABLES = """
CREATE TABLE prompts (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, template TEXT NOT NULL,
    per_class INTEGER NOT NULL, confusions TEXT NOT NULL, UNIQUE (name, version, template, per_class, confusions));
CREATE TABLE describers (
    id INTEGER PRIMARY KEY, identifier TEXT NOT NULL, model TEXT NOT NULL, revision TEXT NOT NULL,
    parameters TEXT NOT NULL, UNIQUE (identifier, model, revision, parameters));
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (key TEXT PRIMARY KEY, name TEXT NOT NULL, class_name TEXT NOT NULL);
CREATE TABLE descriptions (
    key TEXT NOT NULL, prompt INTEGER NOT NULL REFERENCES prompts (id),
    describer INTEGER NOT NULL REFERENCES describers (id), sample INTEGER NOT NULL, attempt INTEGER NOT NULL,
    text TEXT NOT NULL, raw_text TEXT, status TEXT NOT NULL CHECK (status IN ('ok', 'rejected', 'failed')),
    reason TEXT NOT NULL, num_prompt_tokens INTEGER, num_text_tokens INTEGER, seconds REAL, agreement REAL,
    created_at REAL NOT NULL, PRIMARY KEY (key, prompt, describer, sample, attempt));
CREATE VIEW latest AS SELECT * FROM descriptions AS d WHERE NOT EXISTS (
    SELECT 1 FROM descriptions AS n WHERE (n.key, n.prompt, n.describer, n.sample)
    = (d.key, d.prompt, d.describer, d.sample) AND n.attempt > d.attempt);
"""

# What people decide is a table of its own: the describer's answers, and what they cost, stay as they are, and a run
# that describes meanwhile can put no answer in the place of a decision. `latest` knows answers alone, `current` is what
# counts; both show a description's row number, which grows with every answer.
_REVIEWS = """
CREATE TABLE reviews (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, prompt INTEGER NOT NULL REFERENCES prompts (id),
    describer INTEGER NOT NULL REFERENCES describers (id), sample INTEGER NOT NULL, attempt INTEGER NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('edit', 'reject', 'ask', 'restore')), author TEXT NOT NULL,
    text TEXT NOT NULL, created_at REAL NOT NULL);
CREATE INDEX reviews_of ON reviews (key, prompt, describer, sample, created_at);
CREATE VIEW current AS SELECT
    d.rowid AS row, d.key, d.prompt, d.describer, d.sample, d.attempt,
    CASE WHEN r.action = 'edit' THEN r.text ELSE d.text END AS text,
    CASE WHEN r.action = 'edit' THEN coalesce(d.raw_text, d.text) ELSE d.raw_text END AS raw_text,
    CASE WHEN r.action IS NULL THEN d.status WHEN r.action = 'edit' THEN 'ok' ELSE 'rejected' END AS status,
    CASE r.action WHEN 'edit' THEN 'edited by ' || r.author WHEN 'reject' THEN 'rejected by ' || r.author
        WHEN 'ask' THEN 'asked again by ' || r.author ELSE d.reason END AS reason,
    d.num_prompt_tokens, d.num_text_tokens, d.seconds,
    CASE WHEN r.action = 'edit' THEN NULL ELSE d.agreement END AS agreement, d.created_at,
    CASE WHEN r.action = 'edit' THEN r.author ELSE '' END AS edited_by
    FROM descriptions AS d LEFT JOIN reviews AS r ON r.id = (
        SELECT n.id FROM reviews AS n WHERE n.key = d.key AND n.prompt = d.prompt AND n.describer = d.describer
        AND n.sample = d.sample ORDER BY n.created_at DESC, n.id DESC LIMIT 1)
    AND (r.action = 'edit' OR (r.action != 'restore' AND r.attempt >= d.attempt))
    WHERE NOT EXISTS (SELECT 1 FROM descriptions AS n WHERE (n.key, n.prompt, n.describer, n.sample)
        = (d.key, d.prompt, d.describer, d.sample) AND n.attempt > d.attempt);
CREATE VIEW usable AS SELECT
    d.key, i.name, i.class_name, p.name AS prompt, p.version AS prompt_version, s.identifier AS describer, s.model,
    s.revision, d.sample, d.attempt, d.text, d.reason, d.num_prompt_tokens, d.num_text_tokens, d.seconds, d.agreement,
    d.created_at, d.prompt AS prompt_id, d.describer AS describer_id, d.edited_by
    FROM current AS d JOIN prompts AS p ON p.id = d.prompt JOIN describers AS s ON s.id = d.describer
    LEFT JOIN images AS i ON i.key = d.key WHERE d.status = 'ok';
"""


def open_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new set, or those that a set of an earlier version lacks; its rows stay as they are.

    Raises:
        ArtifactError: the file is no description set, or one of a later version.
    """
    version = _version(connection)
    if version == SCHEMA_VERSION:
        return
    if version == 0 and _num_tables(connection) == 0:
        connection.executescript(f"BEGIN; {_TABLES} {_REVIEWS} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif version == _NO_REVIEWS:
        _add_reviews(connection)
    else:
        raise ArtifactError(
            f"{path} is not a description set of version {SCHEMA_VERSION} (found {version}). "
            "Name another file, or use the sightwords version that wrote it."
        )


def _add_reviews(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection) == _NO_REVIEWS:  # else another process was faster
            connection.execute("DROP VIEW usable")
            for statement in filter(str.strip, _REVIEWS.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _num_tables(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
