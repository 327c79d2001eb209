"""Options of `sightwords export`."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from sightwords.errors import ConfigError
from sightwords.exporting.formats import FORMATS
from sightwords.images.config import check_range, set_paths
from sightwords.licenses import Use, check_use

_CHECK = Group("How it is verified", sort_key=1)
_CARD = Group("What the card says", sort_key=2)
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@Parameter(name="*")
@dataclass
class ExportConfig:
    """Write the plain network for others to use, verified, with its certificate and card."""

    run: Path
    """Folder of the run."""
    _: KW_ONLY
    out: Path | None = None
    """File to write: .safetensors, .onnx or .pt2 as the format asks; a folder with --format hub."""
    format: str | None = None
    """timm or torchvision: weights for the stock library. onnx: one file for onnxruntime. torch_export: a program for
    torch.export.load. hub: the folder that timm.create_model("hf-hub:...") reads. [default: by the file's ending]"""
    push_to_hub: str | None = None
    """Repository on the Hugging Face hub, OWNER/NAME, to upload the hub folder to; the token is taken from HF_TOKEN or
    `hf auth login`."""
    private: Annotated[bool, Parameter(negative="")] = False
    """Make that repository private, where it is new."""
    images: Annotated[str | None, Parameter(group=_CHECK)] = None
    """Folder, table or tar shards of images to verify with. [default: the run's validation images]"""
    num_images: Annotated[int, Parameter(group=_CHECK)] = 32
    """Images to verify with."""
    pairs: Annotated[int, Parameter(group=_CHECK)] = 15
    """Measurements of latency, of the stock network and of the file in turn."""
    comparison: Annotated[Path | None, Parameter(group=_CARD)] = None
    """Folder of the comparison whose arms and intervals the card shows. [default: the one that the run is part of]"""
    license: Annotated[str | None, Parameter(group=_CARD)] = None
    """License that you give the network, as the Hugging Face hub names it (apache-2.0, cc-by-nc-4.0 ...)."""
    dataset: Annotated[list[str], Parameter(negative="", group=_CARD)] = field(default_factory=list)
    """Data set on the Hugging Face hub that the images are; may be given several times."""
    use: Annotated[Use | None, Parameter(group=_CARD)] = None
    """What the network is for: `commercial` warns where a license of its parts forbids that, sets conditions or is not
    known."""
    licenses: Annotated[Path | None, Parameter(group=_CARD)] = None
    """Your own table of licenses, YAML, in addition to the package's."""

    def __post_init__(self) -> None:
        set_paths(self, "run out comparison licenses")
        check_use(self.use)
        check_range(self, "num_images pairs", least=1)
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(f"--format is {self.format!r}; it must be one of {', '.join(FORMATS)}.")
        if self.push_to_hub is not None:
            if not _HUB_NAME.fullmatch(self.push_to_hub):
                raise ConfigError(f"--push-to-hub is {self.push_to_hub!r}; it must be OWNER/NAME, as on the hub.")
            if self.format not in (None, "hub"):
                raise ConfigError(f"--push-to-hub uploads the hub folder. Leave out --format {self.format}.")
            self.format = "hub"
        elif self.out is None:
            raise ConfigError("Nowhere to write to. Give --out FILE, or --push-to-hub OWNER/NAME.")
        if self.out is not None:
            self._check_suffix(self.out)

    def _check_suffix(self, out: Path) -> None:
        named = [self.format] if self.format else list(FORMATS)
        suffixes = list(dict.fromkeys(FORMATS[name][1] for name in named if FORMATS[name][1]))
        if suffixes and out.suffix not in suffixes:
            hint = "" if self.format else " A folder for the Hugging Face hub is --format hub."
            raise ConfigError(f"--out is {out}; the file must end in {' or '.join(suffixes)}.{hint}")
