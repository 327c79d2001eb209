"""What a describing run did, counted and in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sightwords.data.catalog import Problem
from sightwords.progress import duration

_NUM_SHOWN = 5
_NUM_REASONS = 12


@dataclass(frozen=True)
class Reason:
    """Why answers were rejected or requests failed, counted over the whole set.

    Attributes:
        status: `rejected` or `failed`; `ok` for answers that are usable with a remark.
        reason: in a few words.
        count: number of attempts.
        image: name of one image.
        text: the answer for it, empty where there was none.
    """

    status: str
    reason: str
    count: int
    image: str
    text: str


@dataclass
class DescribeResult:
    """Counts of one run; an image asked for K samples counts K times.

    Attributes:
        out: the description set.
        describer: who was asked, the ID without secrets.
        prompt: name of the prompt.
        num_ok: new usable descriptions.
        num_rejected: descriptions that no attempt of this run made usable.
        num_failed: requests that got no answer; the same command asks them again.
        num_skipped: descriptions that were there before.
        num_answers: answers that came, those asked again included.
        num_unreadable: descriptions of images that turned out to be damaged; they are told with the problems.
        problems: images that cannot be read, with reasons.
        reasons: of all attempts by this describer and prompt in the set, most frequent first.
        stopped: why the run ended before everything was asked, empty where it did not.
        forecast: what the whole will take, lines of text; of a pilot.
        page: the page that shows a pilot's sample.
        next_command: the command that uses what was written.
        seconds: time of the run.
    """

    out: Path
    describer: str
    prompt: str
    num_ok: int = 0
    num_rejected: int = 0
    num_failed: int = 0
    num_skipped: int = 0
    num_answers: int = 0
    num_unreadable: int = 0
    problems: list[Problem] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    stopped: str = ""
    forecast: list[str] = field(default_factory=list)
    page: Path | None = None
    next_command: str = ""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        embeddings = self.out.with_name(f"{self.out.stem}-embeddings")
        self.next_command = shlex.join(["sightwords", "embed", str(self.out), "--out", str(embeddings)])

    @property
    def num_problems(self) -> int:
        """Number of images that cannot be read."""
        return len(self.problems)

    def count(self, counts: Mapping[str, int]) -> None:
        """Take over the number of descriptions of each status."""
        self.num_ok, self.num_rejected, self.num_failed = (counts.get(s, 0) for s in ("ok", "rejected", "failed"))

    def summary(self) -> str:
        """Return what was done, lines for people."""
        there = f", {self.num_skipped} were there already" if self.num_skipped else ""
        lines = [
            f"Wrote {self.num_ok} descriptions by {self.describer} (prompt {self.prompt}) to {self.out} "
            f"in {duration(self.seconds)}{there}."
        ]
        lines += reason_table(self.reasons)
        if self.num_failed:
            lines.append(f"The same command asks again for the {self.num_failed} that failed.")
        if self.num_rejected:
            lines.append(f"With --retry-failed the {self.num_rejected} without a usable answer get new tries.")
        lines += self._unreadable()
        if self.stopped:
            lines.append(f"Stopped: {self.stopped} Everything that arrived is stored.")
        lines += self.forecast
        if self.page:
            lines.append(f"Look at the sample: {self.page}")
        return "\n".join(lines)

    def _unreadable(self) -> list[str]:
        if not self.problems:
            return []
        one = self.num_problems == 1
        images = "1 image cannot be read and has" if one else f"{self.num_problems} images cannot be read and have"
        lines = [f"{images} no description:"]
        lines += [f"  {problem.name}: {problem.reason}" for problem in self.problems[:_NUM_SHOWN]]
        if self.num_problems > _NUM_SHOWN:
            lines.append(f"  and {self.num_problems - _NUM_SHOWN} more")
        return lines


def reason_table(reasons: Sequence[Reason]) -> list[str]:
    """Return the reasons as an aligned table with an example each, a line a row; none where there is no reason."""
    if not reasons:
        return []
    head = ("Count", "Status", "Reason", "For example")
    rows = [(str(r.count), r.status, _cut(r.reason, 60), _example(r)) for r in reasons[:_NUM_REASONS]]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [f"  {n:>{widths[0]}}  {s:<{widths[1]}}  {r:<{widths[2]}}  {e}".rstrip() for n, s, r, e in (head, *rows)]
    if len(reasons) > _NUM_REASONS:
        lines.append(f"  and {len(reasons) - _NUM_REASONS} further reasons")
    return lines


def _example(reason: Reason) -> str:
    return f"{reason.image}: {_cut(reason.text, 60)}" if reason.text else reason.image


def _cut(text: str, width: int) -> str:
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width else f"{line[: width - 3]}..."
