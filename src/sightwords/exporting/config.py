"""Options of `sightwords export`."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Group, Parameter

from sightwords.errors import ConfigError
from sightwords.licenses import Use, check_use

FormatName = Literal["timm", "torchvision", "onnx", "torch_export", "hub"]
SUFFIXES = {"timm": ".safetensors", "torchvision": ".safetensors", "onnx": ".onnx", "torch_export": ".pt2"}

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
    format: FormatName | None = None
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
    """Table of licenses of your own, YAML, beside the one of the package."""

    def __post_init__(self) -> None:
        self.run, self.out = Path(self.run), Path(self.out) if self.out else None
        self.comparison = Path(self.comparison) if self.comparison else None
        self.licenses = Path(self.licenses) if self.licenses else None
        check_use(self.use)
        for name, least in (("num_images", 1), ("pairs", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least {least}.")
        if self.format is not None and self.format not in get_args(FormatName):
            raise ConfigError(f"--format is {self.format!r}; it must be one of {', '.join(get_args(FormatName))}.")
        self._check_hub()
        self._check_ending()

    def _check_hub(self) -> None:
        if self.push_to_hub is None:
            if self.out is None:
                raise ConfigError("Nowhere to write to. Give --out FILE, or --push-to-hub OWNER/NAME.")
            return
        if not _HUB_NAME.fullmatch(self.push_to_hub):
            raise ConfigError(f"--push-to-hub is {self.push_to_hub!r}; it must be OWNER/NAME, as on the hub.")
        if self.format not in (None, "hub"):
            raise ConfigError(f"--push-to-hub uploads the hub folder; --format {self.format} is another one.")
        self.format = "hub"

    def _check_ending(self) -> None:
        if self.format == "hub":
            return
        assert self.out is not None
        known = SUFFIXES.values() if self.format is None else [SUFFIXES[self.format]]
        if self.out.suffix not in known:
            allowed = " or ".join(dict.fromkeys(known))
            hint = "" if self.format else " A folder for the Hugging Face hub is --format hub."
            raise ConfigError(f"--out is {self.out}; the file must end in {allowed}.{hint}")
