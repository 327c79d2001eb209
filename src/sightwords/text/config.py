"""Options of `sightwords embed`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Literal, cast

from cyclopts import Parameter

from sightwords.images.config import check_choices, check_range, set_paths
from sightwords.licenses import Use, check_use


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
    """Encoder: builtin:minilm, builtin:words[-N] (no network), st:NAME_OR_FOLDER, openclip:MODEL/TAG_OR_CHECKPOINT."""
    prompt: Annotated[list[str], Parameter(negative="", show_default=False)] = field(default_factory=list)
    """Take only the answers to this prompt; may be given several times. [default: all]"""
    where: str | None = None
    """Take only descriptions that an SQLite condition holds for, such as "prompt = 'class' and clip_score > 0.2"."""
    batch_size: int | None = None
    """Most texts in a batch. [default: 1024 tokens together on the CPU, 32768 on a GPU]"""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the encoder; auto takes bf16 where a trial on some of the texts finds it faster and exact enough
    (cosine to fp32 at least 0.999), else fp32. Vectors are stored as fp16."""
    use: Use | None = None
    """What networks taught by the texts are for: `commercial` warns where a license of describer or encoder is against
    it."""
    licenses: Path | None = None
    """Your own table of licenses, YAML, in addition to the package's."""
    engine: Literal["local", "ray"] = "local"
    """Where texts are encoded: in this process, or on a Ray cluster."""
    ray_address: str = "auto"
    """Address of the Ray cluster; auto takes the running one, and starts one on this machine where there is none."""
    ray_workers: int | None = None
    """Encoders on the Ray cluster. [default: one for each GPU, else one for each node]"""

    def __post_init__(self) -> None:
        set_paths(self, "descriptions out licenses")
        check_use(self.use)
        given = cast("object", self.prompt)
        self.prompt = [given] if isinstance(given, str) else list(self.prompt)  # a lone name, from Python
        check_choices(self)
        check_range(self, "batch_size ray_workers", least=1)
