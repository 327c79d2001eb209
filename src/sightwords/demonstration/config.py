"""Options of `sightwords demo`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sightwords.errors import ConfigError


@Parameter(name="*")
@dataclass
class DemoConfig:
    """Run the whole pipeline, offline, on photographs of garments."""

    _: KW_ONLY
    out: Path = Path("sightwords-demo")
    """Folder for everything that the demo writes; a second run goes on with what is there."""
    models: Annotated[list[str], Parameter(consume_multiple=True, negative="")] = field(
        default_factory=lambda: ["test_resnet"]
    )
    """Networks to train: names of timm, or `torchvision:NAME`."""
    epochs: int = 24
    """Passes over the training images, for each of the five trainings of a network."""
    seed: int = 0
    """Seed of the trainings."""
    workers: int = 2
    """Loader processes."""

    def __post_init__(self) -> None:
        self.out = Path(self.out)
        if not self.models:
            raise ConfigError("--models is empty; name at least one network, such as test_resnet.")
        if self.epochs < 1:
            raise ConfigError(f"--epochs is {self.epochs}; it must be at least 1.")
