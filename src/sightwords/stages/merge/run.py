"""Bring description sets together."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sightwords.artifacts.description_merge import MergeCounts, merge_into
from sightwords.artifacts.description_set import DescriptionSet
from sightwords.artifacts.rescue import rescue
from sightwords.errors import ArtifactError, DamagedSetError
from sightwords.files import atomic_path
from sightwords.stages.merge.config import MergeConfig


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
        folder = self.out.with_name(f"{self.out.stem}-embeddings")
        return shlex.join(["sightwords", "embed", str(self.out), "--out", str(folder)])

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


def run(config: MergeConfig) -> MergeResult:
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
        with DescriptionSet(temporary, create=True):
            pass
        return _merge(MergeResult(config.out), temporary, config.sources)


def _merge(result: MergeResult, into: Path, sources: list[Path]) -> MergeResult:
    with DescriptionSet(into) as target:
        for source in sources:
            with _readable(source, result) as whole:
                result.taken[source] = merge_into(target, whole)
        result.num_usable = target.counts().get("ok", 0)
    return result


@contextmanager
def _readable(source: Path, result: MergeResult) -> Generator[Path]:
    """Yield a whole set: the source, or what can be read of it."""
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
