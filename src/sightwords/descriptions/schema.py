"""The records of a description set: what was asked, who was asked, and what came back."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sightwords.errors import ArtifactError, ConfigError

Status = Literal["ok", "rejected", "failed"]
Action = Literal["edit", "reject", "ask", "restore"]

_CLASS, _CONFUSED = "{class_name}", "{confused_with}"


@dataclass(frozen=True)
class Prompt:
    """What a describer is asked.

    Attributes:
        name: what users call it.
        version: raised whenever the template changes.
        template: text to send; `{class_name}` is replaced by the image's readable class name, `{confused_with}` by the
            classes that a network takes for it.
        per_class: asked once for each class, without an image.
        confusions: readable class name -> names of the classes that it is confused with.
    """

    name: str
    version: int
    template: str
    per_class: bool = False
    confusions: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def names_class(self) -> bool:
        """Whether the template needs the class name."""
        return _CLASS in self.template

    def text(self, class_name: str) -> str:
        """Return the text to send for an image of this class."""
        others = ", ".join(self.confusions.get(class_name, [])) or "other classes"
        return self.template.replace(_CONFUSED, others).replace(_CLASS, class_name)

    def row(self) -> tuple[str, int, str, bool, str]:
        """Return the columns that make this prompt one of its own."""
        return self.name, self.version, self.template, self.per_class, _json(self.confusions)


@dataclass(frozen=True)
class DescriberInfo:
    """Who was asked, with everything needed to ask again.

    Attributes:
        identifier: the ID on the command line without secrets and places: `hf:NAME`, `server:MODEL`, `import:SOURCE`.
        model: the model's own name.
        revision: commit or content hash of the model, where it can be known.
        parameters: decoding parameters, JSON values.
    """

    identifier: str
    model: str
    revision: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> tuple[str, str, str, str]:
        """Return the columns that make this describer one of its own."""
        return self.identifier, self.model, self.revision, _json(self.parameters)


@dataclass(frozen=True)
class Description:
    """One answer, or the failure to get one.

    Attributes:
        key: key of the image.
        prompt: row id of the prompt.
        describer: row id of the describer.
        sample: 0 for the first description by this describer and prompt, 1 for the second, and so on.
        text: the cleaned answer; empty where there is none.
        status: `ok`, `rejected` (an answer that cannot be used) or `failed` (no answer).
        reason: why it was rejected or failed.
        num_prompt_tokens: tokens sent, where known.
        num_text_tokens: tokens answered, where known.
        seconds: time of the request; of a batch, its share.
        created_at: seconds since 1970.
        attempt: 0 for the first answer, 1 for the one after a rejected one, and so on; the last attempt counts.
        raw_text: the answer as it came, where cleaning changed it; else None.
        clip_score: cosine of image and text by a CLIP model, in [-1, 1]; None where it was not scored.
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
    attempt: int = 0
    raw_text: str | None = None
    clip_score: float | None = None


class Attempt(NamedTuple):
    """What became of one attempt at a description: a `Description` without its texts, of which millions are read."""

    key: str
    sample: int
    attempt: int
    status: Status
    reason: str
    created_at: float


@dataclass(frozen=True)
class Reason:
    """Why answers were rejected or requests failed.

    Attributes:
        status: `rejected` or `failed`; `ok` for descriptions with a remark.
        reason: in a few words.
        count: number of attempts.
        image: name of one image.
        text: the answer for it, empty where there was none.
    """

    status: Status
    reason: str
    count: int
    image: str
    text: str


@dataclass
class Spent:
    """What all questions of one prompt and describer took, every attempt counted, failed and rejected ones too.

    Attributes:
        num_requests: number of questions.
        num_prompt_tokens: tokens sent, where known.
        num_text_tokens: tokens received, where known.
        max_prompt_tokens: largest number of tokens of one question; None where not known.
        num_unknown: failed questions without numbers of tokens; counted at their most expensive outcome.
        seconds: time of the rented machine: how long the describer was at work, in seconds of the clock.
    """

    num_requests: int = 0
    num_prompt_tokens: int = 0
    num_text_tokens: int = 0
    max_prompt_tokens: int | None = None
    num_unknown: int = 0
    seconds: float = 0.0

    def add(self, num_prompt_tokens: int | None, num_text_tokens: int | None) -> None:
        """Count one question by its `num_prompt_tokens` and `num_text_tokens`, None where they are not known."""
        self.num_requests += 1
        if num_prompt_tokens is None or num_text_tokens is None:
            self.num_unknown += 1
            return
        self.num_prompt_tokens += num_prompt_tokens
        self.num_text_tokens += num_text_tokens
        self.max_prompt_tokens = max(self.max_prompt_tokens or 0, num_prompt_tokens)


@dataclass(frozen=True)
class Selected:
    """A usable description with its prompt and describer by name.

    Attributes:
        key: key of the image.
        prompt: name of the prompt.
        describer: identifier of the describer.
        sample: number of the sample.
        text: the description.
        clip_score: cosine of image and text by a CLIP model; None where it was not scored.
        prompt_id: row id of the prompt; two prompts may share a name.
        describer_id: row id of the describer; one model with other parameters is another describer.
        edited_by: who rewrote the describer's answer, empty where nobody did.
    """

    key: str
    prompt: str
    describer: str
    sample: int
    text: str
    clip_score: float | None
    prompt_id: int
    describer_id: int
    edited_by: str = ""


@dataclass(frozen=True)
class Review:
    """What a person decided about a description; the answers themselves stay as they are.

    The last decision counts. `edit` puts a text in place of every answer, `reject` takes one attempt (and those before
    it) out of use, `ask` does so too and makes describing ask again, `restore` lets the describer's answer count again.

    Attributes:
        key: key of the image.
        prompt: row id of the prompt.
        describer: row id of the describer.
        sample: number of the sample.
        attempt: the last attempt when the person decided; a later answer is another text.
        action: `edit`, `reject`, `ask` or `restore`.
        author: who decided: `human:NAME`.
        text: of an edit, the text to use; else empty.
        created_at: seconds since 1970.
    """

    key: str
    prompt: int
    describer: int
    sample: int
    attempt: int
    action: Action
    author: str
    text: str = ""
    created_at: float = field(default_factory=time.time)

    @staticmethod
    def of(description: Description, action: Action, author: str, text: str = "") -> Review:
        """Return a decision about a description as it stands now.

        Raises:
            ConfigError: an edit has no text.
        """
        text = storable(text.strip())
        if action == "edit" and not text:
            raise ConfigError("A description cannot be edited to nothing. Reject it instead.")
        place = (description.key, description.prompt, description.describer, description.sample, description.attempt)
        return Review(*place, action=action, author=author, text=text)

    def holds(self, attempt: int) -> bool:
        """Return whether this decides about a description whose last attempt is this one."""
        return self.action == "edit" or (self.action != "restore" and attempt <= self.attempt)


def storable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which JSON may hold and UTF-8 may not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True, ensure_ascii=False)


SCHEMA_VERSION = 1

# The attempts at a description are rows of their own, so that no answer that was paid for is overwritten; the last one
# counts. What people decide is a table of its own: the answers, and what they cost, stay as they are, and a run that
# describes meanwhile can put no answer in the place of a decision. `latest` knows answers alone, `current` is what
# counts. The tables have row ids: rows are large, and a damaged file can be read part by part (see `rescue`).
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
    reason TEXT NOT NULL, num_prompt_tokens INTEGER, num_text_tokens INTEGER, seconds REAL, clip_score REAL,
    created_at REAL NOT NULL, PRIMARY KEY (key, prompt, describer, sample, attempt));
CREATE VIEW latest AS SELECT * FROM descriptions AS d WHERE NOT EXISTS (
    SELECT 1 FROM descriptions AS n WHERE (n.key, n.prompt, n.describer, n.sample)
    = (d.key, d.prompt, d.describer, d.sample) AND n.attempt > d.attempt);
CREATE TABLE reviews (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, prompt INTEGER NOT NULL REFERENCES prompts (id),
    describer INTEGER NOT NULL REFERENCES describers (id), sample INTEGER NOT NULL, attempt INTEGER NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('edit', 'reject', 'ask', 'restore')), author TEXT NOT NULL,
    text TEXT NOT NULL, created_at REAL NOT NULL);
CREATE TABLE labels (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, class_id TEXT NOT NULL, author TEXT NOT NULL, created_at REAL NOT NULL);
CREATE INDEX reviews_of ON reviews (key, prompt, describer, sample, created_at);
CREATE VIEW current AS SELECT
    d.rowid AS row, d.key, d.prompt, d.describer, d.sample, d.attempt,
    CASE WHEN r.action = 'edit' THEN r.text ELSE d.text END AS text,
    CASE WHEN r.action = 'edit' THEN coalesce(d.raw_text, d.text) ELSE d.raw_text END AS raw_text,
    CASE WHEN r.action IS NULL THEN d.status WHEN r.action = 'edit' THEN 'ok' ELSE 'rejected' END AS status,
    CASE r.action WHEN 'edit' THEN 'edited by ' || r.author WHEN 'reject' THEN 'rejected by ' || r.author
        WHEN 'ask' THEN 'asked again by ' || r.author ELSE d.reason END AS reason,
    d.num_prompt_tokens, d.num_text_tokens, d.seconds,
    CASE WHEN r.action = 'edit' THEN NULL ELSE d.clip_score END AS clip_score, d.created_at,
    CASE WHEN r.action = 'edit' THEN r.author ELSE '' END AS edited_by
    FROM descriptions AS d LEFT JOIN reviews AS r ON r.id = (
        SELECT n.id FROM reviews AS n WHERE n.key = d.key AND n.prompt = d.prompt AND n.describer = d.describer
        AND n.sample = d.sample ORDER BY n.created_at DESC, n.id DESC LIMIT 1)
    AND (r.action = 'edit' OR (r.action != 'restore' AND r.attempt >= d.attempt))
    WHERE NOT EXISTS (SELECT 1 FROM descriptions AS n WHERE (n.key, n.prompt, n.describer, n.sample)
        = (d.key, d.prompt, d.describer, d.sample) AND n.attempt > d.attempt);
CREATE VIEW usable AS SELECT
    d.key, i.name, i.class_name, p.name AS prompt, p.version AS prompt_version, s.identifier AS describer, s.model,
    s.revision, d.sample, d.attempt, d.text, d.reason, d.num_prompt_tokens, d.num_text_tokens, d.seconds, d.clip_score,
    d.created_at, d.prompt AS prompt_id, d.describer AS describer_id, d.edited_by
    FROM current AS d JOIN prompts AS p ON p.id = d.prompt JOIN describers AS s ON s.id = d.describer
    LEFT JOIN images AS i ON i.key = d.key WHERE d.status = 'ok';
"""


def open_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new set.

    Raises:
        ArtifactError: the file is another database.
    """
    if _version(connection) == SCHEMA_VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # another process may be making the same set
        version = _version(connection)
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise ArtifactError(
                f"{path} is not a description set of version {SCHEMA_VERSION} (found {version}). Name another file."
            )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
