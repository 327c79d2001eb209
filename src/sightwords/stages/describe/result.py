"""What a describing run did, counted and in words."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from sightwords.data.catalog import Problem
from sightwords.progress import duration
from sightwords.stages.describe.describers.base import Answer

_NUM_SHOWN = 5


@dataclass
class DescribeResult:
    """Counts of one run; an image asked for K samples counts K times.

    Attributes:
        out: the description set.
        describer: who was asked, the ID without secrets.
        prompt: name of the prompt.
        num_ok: new usable descriptions.
        num_rejected: new answers that cannot be used.
        num_failed: requests that got no answer; the same command asks them again.
        num_skipped: descriptions that were there before.
        problems: images that cannot be read, with reasons.
        reasons: (status, reason) -> (count, name of one image), of all that is not usable.
        seconds: time of the run.
    """

    out: Path
    describer: str
    prompt: str
    num_ok: int = 0
    num_rejected: int = 0
    num_failed: int = 0
    num_skipped: int = 0
    problems: list[Problem] = field(default_factory=list)
    reasons: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def num_problems(self) -> int:
        """Number of images that cannot be read."""
        return len(self.problems)

    @property
    def next_command(self) -> str:
        """The command that uses what was written."""
        embeddings = self.out.with_name(f"{self.out.stem}-embeddings")
        return f"sightwords embed {shlex.quote(str(self.out))} --out {shlex.quote(str(embeddings))}"

    def count(self, answer: Answer) -> None:
        """Count one answer."""
        if answer.status == "ok":
            self.num_ok += 1
            return
        if answer.status == "rejected":
            self.num_rejected += 1
        else:
            self.num_failed += 1
        number, example = self.reasons.get((answer.status, answer.reason), (0, answer.request.name))
        self.reasons[answer.status, answer.reason] = (number + 1, example)

    def summary(self) -> str:
        """Return what was done, a few lines for people."""
        there = f", {self.num_skipped} were there already" if self.num_skipped else ""
        lines = [
            f"Wrote {self.num_ok} descriptions by {self.describer} (prompt {self.prompt}) to {self.out} "
            f"in {duration(self.seconds)}{there}."
        ]
        ranked = sorted(self.reasons.items(), key=lambda item: -item[1][0])
        for (status, reason), (number, example) in ranked[:_NUM_SHOWN]:
            lines.append(f"  {status}: {number} x {reason} (for example {example})")
        if len(ranked) > _NUM_SHOWN:
            lines.append(f"  and {len(ranked) - _NUM_SHOWN} further reasons")
        if self.num_failed:
            lines.append(f"The same command asks again for the {self.num_failed} that failed.")
        if self.num_rejected:
            lines.append("With --retry-failed the rejected ones are asked again too.")
        if self.problems:
            images = (
                "1 image cannot be read and has"
                if self.num_problems == 1
                else (f"{self.num_problems} images cannot be read and have")
            )
            lines.append(f"{images} no description:")
            lines += [f"  {problem.name}: {problem.reason}" for problem in self.problems[:_NUM_SHOWN]]
        if self.num_problems > _NUM_SHOWN:
            lines.append(f"  and {self.num_problems - _NUM_SHOWN} more")
        return "\n".join(lines)
