"""Options of `sightwords browse`."""

from __future__ import annotations

import getpass
import ipaddress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from cyclopts import Parameter

from sightwords.errors import ConfigError
from sightwords.images.config import ImageOptions, check_range, set_paths

TOKEN_VARIABLE = "SIGHTWORDS_BROWSE_TOKEN"


@dataclass
class _Set:
    # a base of its own: cyclopts takes a field as positional only where no keyword-only field stands before it
    descriptions: Path
    """Description set, as `sightwords describe` or `sightwords import` writes it."""


@Parameter(name="*")
@dataclass
class BrowseConfig(ImageOptions, _Set):
    """Look at a description set in the browser: search, filter, edit, reject, ask again."""

    _: KW_ONLY
    images: str | None = None
    """Folder, CSV or Parquet table, or tar shards that hold the images; without it only texts are shown."""
    embeddings: Path | None = None
    """Embedding set of these descriptions, for search by meaning."""
    label: Path | None = None
    """Table of `sightwords label`: a page to label its images with keys, the suggested ones first. What you say is kept
    in the description set, and the next `label` takes it over."""
    host: str = "127.0.0.1"
    """Address to listen on. Any address but this machine's own requires a token: the value of the environment variable
    SIGHTWORDS_BROWSE_TOKEN, or one that is generated and printed once."""
    port: int = 8080
    """Port to listen on; 0 takes a free one."""
    name: str | None = None
    """Your name as it is stored with your edits (human:NAME). [default: your user name]"""

    def __post_init__(self) -> None:
        self.descriptions = Path(self.descriptions)
        set_paths(self, "embeddings label")
        check_range(self, "port", least=0, most=65535)
        if self.name is not None and not self.name.strip():
            raise ConfigError("--name is empty. Give your name, or leave it out.")
        if self.has_images:
            super().__post_init__()

    @property
    def has_images(self) -> bool:
        """Whether a source of images is named."""
        return any(source is not None for source in (self.images, self.train, self.val))

    @property
    def author(self) -> str:
        """Who edits, as the set stores it."""
        try:
            return f"human:{(self.name or getpass.getuser()).strip()}"
        except (OSError, KeyError, ImportError):  # a container's user may have no name
            return "human:someone"


def is_loopback(host: str) -> bool:
    """Return whether a host name or address reaches this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
