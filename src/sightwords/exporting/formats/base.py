"""What a format of an export is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sightwords.exporting.check import Answer, Check
from sightwords.exporting.checkpoint import Subject


@dataclass(frozen=True)
class Loaded:
    """A file that was written, read back as its users read it.

    Attributes:
        answer: what it computes.
        flops: multiplications and additions for one image, None where they cannot be told.
        checks: what was found while it was loaded.
    """

    answer: Answer
    flops: int | None
    checks: list[Check]


class Format(Protocol):
    """A format: how to write a network, how its users read it, and how far its outputs may differ."""

    @property
    def name(self) -> str:
        """As `--format` names it."""

    @property
    def tolerance(self) -> float:
        """Largest difference of outputs, as a part of the largest; 0: none."""

    def write(self, subject: Subject, folder: Path, name: str) -> Path:
        """Write the network into a folder; return the file that holds the weights.

        Args:
            subject: the network.
            folder: where; it is empty.
            name: of the file that the user asked for.
        """

    def load(self, file: Path, subject: Subject) -> Loaded:
        """Read what `write` wrote as its users do, without anything of ours where that is possible.

        Raises:
            ArtifactError: it does not load, or is not the stock network.
        """

    def snippet(self, subject: Subject, out: str) -> str:
        """Return lines of Python that load the file or folder `out`."""
