"""Options of `sightwords merge`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from cyclopts import Parameter

from sightwords.errors import ConfigError


@Parameter(name="*")
@dataclass
class MergeConfig:
    """Bring description sets together, by image key, prompt, describer and sample."""

    sources: list[Path]
    """Description sets; the first takes over what the others have, unless --out names a new one. A damaged set gives
    what can still be read of it."""
    _: KW_ONLY
    out: Path | None = None
    """New description set to write; the sources stay as they are."""

    def __post_init__(self) -> None:
        self.sources = [Path(source) for source in self.sources]
        self.out = Path(self.out) if self.out else None
        if len(self.sources) < (1 if self.out else 2):
            raise ConfigError("Name at least two description sets, or one and --out: sightwords merge A.db B.db")
        places = [path.resolve() for path in (*self.sources, *([self.out] if self.out else []))]
        if len(set(places)) < len(places):
            raise ConfigError("The same file is named twice. Each set is to be named once, and --out must be new.")
        if self.out and self.out.exists():
            raise ConfigError(
                f"--out {self.out} is there already. Name a new file, or put it first to add the others to it: "
                f"sightwords merge {self.out} {' '.join(map(str, self.sources))}"
            )
