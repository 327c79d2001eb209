"""Options of `sightwords compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

from cyclopts import Parameter

import sightwords
from sightwords.comparison.arms import check_arm
from sightwords.errors import ConfigError
from sightwords.images.config import SUBSET_OPTIONS, check_range, set_paths

DEFAULT_ARMS = ("baseline", "aligned", "class_name", "shuffled")


@Parameter(name="*")
@dataclass
class CompareConfig(sightwords.TrainingOptions):
    """Does the text help, by how much, and is it the meaning? Trains arms x models x seeds and says so."""

    _: KW_ONLY
    out: Path
    """Folder of everything; the same command goes on there, and further arms, models or seeds are added."""
    models: Annotated[list[str], Parameter(consume_multiple=True)] = field(default_factory=lambda: ["resnet50"])
    """Networks, or YAML files of training options that differ for a network (`model: NAME` and the rest): A,B,C"""
    arms: Annotated[list[str], Parameter(consume_multiple=True)] = field(default_factory=lambda: list(DEFAULT_ARMS))
    """baseline, aligned, aligned:LOSS, class_name, shuffled, shuffled_within_class, random_vectors, or FILE.yaml."""
    seeds: int = 3
    """Trainings of every arm with every network; differing in initial weights, order and augmentation."""
    train_fraction: Annotated[list[float], Parameter(consume_multiple=True)] = field(default_factory=list)
    """Also with these shares of the training images."""
    long_tail: Annotated[list[float], Parameter(consume_multiple=True)] = field(default_factory=list)
    """Also with classes thinned out until the first has this many times the images of the last."""
    label_noise: Annotated[list[float], Parameter(consume_multiple=True)] = field(default_factory=list)
    """Also with these shares of wrong labels."""
    label_fraction: Annotated[list[float], Parameter(consume_multiple=True)] = field(default_factory=list)
    """Also with the labels of these shares of the training images alone; what uses fewer images then goes over them
    more often, so that all trainings take as many steps."""
    clean: bool = True
    """Compare with the training set as it is; --no-clean leaves that out."""
    knn: int = 20
    """Also classify by this many nearest training images in the pooled features; 0 does not."""
    probe: bool = True
    """Also fit a linear classifier to the pooled features."""
    corruptions: Annotated[bool, Parameter(negative="")] = False
    """Also measure accuracy under eight corruptions at five severities."""
    transfer: str | None = None
    """Also measure a linear classifier of the features on this second data set."""
    descriptions: Path | None = None
    """Description set, to show descriptions in the report."""
    hours: float | None = None
    """Time budget: seeds, epochs and networks are planned to fit it."""
    parallel: int = 0
    """Trainings at once. [default: one for each GPU, or one]"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.out = Path(self.out)
        set_paths(self, "descriptions")
        self.models, self.arms = _split(self.models), _split(self.arms)
        for arm in self.arms:
            check_arm(arm)
        self._check()

    def _check(self) -> None:
        if "baseline" not in self.arms:
            self.arms.insert(0, "baseline")  # every figure is a difference to it
        if not self.models:
            raise ConfigError("--models is empty; name at least one network, such as resnet18.")
        if len(self.arms) > 1 and not self.embeddings:
            raise ConfigError(f"The arms {', '.join(self.arms[1:])} need text. Name an embedding set: --embeddings E")
        check_range(self, "seeds", least=1)
        check_range(self, "hours", above=0)
        check_range(self, "knn parallel", least=0)
        for name in SUBSET_OPTIONS:
            for value in getattr(self, name):
                one, is_tail = SimpleNamespace(**{name: value}), name == "long_tail"
                check_range(one, name, above=1 if is_tail else 0, most=None if is_tail else 1)
        if not (self.clean or any(getattr(self, name) for name in SUBSET_OPTIONS)):
            raise ConfigError(
                "--no-clean leaves nothing to compare. Add --label-noise, --label-fraction, --train-fraction or "
                "--long-tail."
            )


def _split(given: str | Sequence[str]) -> list[str]:
    """Return names that came as a list, or joined by commas; each once."""
    names = [given] if isinstance(given, str) else list(given)
    return list(dict.fromkeys(part.strip() for name in names for part in name.split(",") if part.strip()))
