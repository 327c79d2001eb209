"""Options of `sightwords embed`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Literal, cast

from cyclopts import Parameter

from sightwords.errors import ConfigError


@Parameter(name="*")
@dataclass
class EmbedConfig:
    """Turn the texts of a description set into vectors."""

    descriptions: Path
    """Description set, as `sightwords describe` or `sightwords import` writes it."""
    _: KW_ONLY
    out: Path
    """Folder of the embedding set; one that is there already is replaced, unless it is up to date."""
    encoder: str = "builtin:minilm"
    """Encoder: builtin:minilm (no network), st:NAME_OR_FOLDER, openclip:MODEL/TAG_OR_CHECKPOINT."""
    prompt: Annotated[list[str], Parameter(negative="", show_default=False)] = field(default_factory=list)
    """Take only the answers to this prompt; may be given several times. [default: all]"""
    batch_size: int = 64
    """Texts in a batch."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the encoder; auto is bf16 on GPUs that have it, fp32 elsewhere. Vectors are stored as fp16."""

    def __post_init__(self) -> None:
        self.descriptions, self.out = Path(self.descriptions), Path(self.out)
        given = cast("object", self.prompt)
        self.prompt = [given] if isinstance(given, str) else list(self.prompt)  # a lone name, from Python
        if self.batch_size < 1:
            raise ConfigError(f"--batch-size is {self.batch_size}; it must be at least 1 text.")
