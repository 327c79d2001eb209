"""Options of `sightwords demo`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from cyclopts import Parameter

from sightwords.errors import ConfigError


@Parameter(name="*")
@dataclass
class DemoConfig:
    """Run the whole pipeline, offline, on photographs of garments."""

    _: KW_ONLY
    out: Path = Path("sightwords-demo")
    """Folder for everything that the demo writes; a second run goes on with what is there."""
    model: str = "test_resnet"
    """Network to train: a name of timm, or `torchvision:NAME`."""
    epochs: int = 40
    """Passes over the training images, for each of the six trainings."""
    seed: int = 0
    """Seed of the trainings, of the wrong labels and of the missing ones."""
    workers: int = 2
    """Loader processes."""

    def __post_init__(self) -> None:
        self.out = Path(self.out)
        if self.epochs < 1:
            raise ConfigError(f"--epochs is {self.epochs}; it must be at least 1.")
