"""Options of `sightwords demo`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from cyclopts import Parameter

from sightwords.errors import ConfigError


@Parameter(name="*")
@dataclass
class DemoConfig:
    """Run the whole pipeline, offline, on drawn birds."""

    _: KW_ONLY
    out: Path = Path("sightwords-demo")
    """Folder for everything that the demo writes; a second run goes on with what is there."""
    num_train: int = 24
    """Training images of each species."""
    num_val: int = 25
    """Validation images of each species."""
    epochs: int = 12
    """Passes over the training images, for each of the four trainings."""
    seed: int = 0
    """Seed of the drawings and of the trainings."""
    workers: int = 2
    """Loader processes."""

    def __post_init__(self) -> None:
        self.out = Path(self.out)
        for name in ("num_train", "num_val", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1.")
