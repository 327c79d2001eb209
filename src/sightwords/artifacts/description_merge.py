"""One description set takes over what another one has; no good answer is replaced, no answer is lost."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sightwords.artifacts.description_set import DescriptionSet

# `there` is the attached set; prompt_of and describer_of map its row ids to ours
_COPIED = (
    "key, text, raw_text, status, reason, num_prompt_tokens, num_text_tokens, seconds, created_at, sample, "
    "prompt, describer, attempt, agreement"
)
_VALUES = (
    "s.key, s.text, s.raw_text, s.status, s.reason, s.num_prompt_tokens, s.num_text_tokens, s.seconds, s.created_at, "
    "s.sample, p.ours, d.ours, {attempt}, CASE WHEN :same_scores THEN s.agreement END"
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


def merge_into(target: DescriptionSet, source: Path) -> MergeCounts:
    """Take over what `source` has, in one transaction.

    A description that both sets have keeps the target's answer, unless only the source's is usable: then that one
    follows as a further attempt. What people decided is taken over; of decisions about one description the last counts.
    Agreement scores of another model than the target's are left out.

    Args:
        target: the set that grows.
        source: file of a whole description set of the same version.

    Raises:
        ArtifactError: the source is no description set, or the disk is full; the target is as it was.
    """
    with DescriptionSet(source) as other:
        prompts = [(row, target.add_prompt(prompt)) for row, prompt in other.prompts().items()]
        describers = [(row, target.add_describer(info)) for row, info in other.describers().items()]
        model = other.agreement_model
    same_scores = target.agreement_model in ("", model)
    if model and same_scores:
        target.begin_agreements(model)
    with target.attached(source) as connection, closing(connection.cursor()) as cursor:
        for table, pairs in (("prompt_of", prompts), ("describer_of", describers)):
            cursor.execute(f"CREATE TEMP TABLE {table} (theirs INTEGER PRIMARY KEY, ours INTEGER NOT NULL)")
            cursor.executemany(f"INSERT INTO {table} VALUES (?, ?)", pairs)
        num_different = int(cursor.execute(_COUNT_DIFFERENT).fetchone()[0])
        num_better = cursor.execute(_ADD_BETTER, {"same_scores": same_scores}).rowcount
        num_new = cursor.execute(_ADD_NEW, {"same_scores": same_scores}).rowcount
        cursor.execute(_ADD_REVIEWS)
        cursor.execute("INSERT OR IGNORE INTO main.images SELECT * FROM there.images")
        for table in ("prompt_of", "describer_of"):
            cursor.execute(f"DROP TABLE {table}")
    return MergeCounts(num_new, num_better, num_different)
