"""Options of `sightwords export`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from sightwords.errors import ConfigError


@Parameter(name="*")
@dataclass
class ExportConfig:
    """Write the plain network for the stock library."""

    run: Path
    """Folder of the run."""
    _: KW_ONLY
    out: Path
    """File to write; it ends in .safetensors."""
    format: Literal["timm", "torchvision"] | None = None
    """Library that the file is for. [default: the library of the run's network]"""

    def __post_init__(self) -> None:
        self.run, self.out = Path(self.run), Path(self.out)
        if self.out.suffix != ".safetensors":
            raise ConfigError(f"--out is {self.out}; the file must end in .safetensors.")
