"""Show a description set in the browser until the user ends it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from sightwords.browsing.config import BrowseConfig
from sightwords.descriptions.schema import Action

_WORDS: dict[Action, str] = {"edit": "edited", "reject": "rejected", "ask": "to be asked again", "restore": "restored"}


@dataclass
class BrowseResult:
    """What was decided while the page was open.

    Attributes:
        descriptions: the set.
        num_decided: action -> how often it was taken.
    """

    descriptions: Path
    num_decided: dict[Action, int] = field(default_factory=dict)

    @property
    def next_command(self) -> str:
        """The command to run next; empty where nothing was decided."""
        if not self.num_decided:
            return ""
        folder = self.descriptions.with_name(f"{self.descriptions.stem}-embeddings")
        return shlex.join(["sightwords", "embed", str(self.descriptions), "--out", str(folder)])

    def summary(self) -> str:
        """Return what was decided, in one line."""
        counts = ", ".join(f"{self.num_decided[a]} {word}" for a, word in _WORDS.items() if a in self.num_decided)
        line = f"Closed {self.descriptions}: {counts or 'nothing was changed'}"
        if self.num_decided.get("ask"):
            line += "; the same `sightwords describe` as before asks again for those images"
        return line


def browse(config: BrowseConfig) -> BrowseResult:
    """Serve the page of a description set until Ctrl-C.

    Raises:
        ArtifactError: the description set or the embedding set is missing or damaged.
        DataError: the images cannot be used.
        ConfigError: the address cannot be had, the token is too short, or the embedding set knows no meaning.
        MissingExtraError: nicegui is not installed.
    """
    from sightwords.browsing.browser import Browser
    from sightwords.browsing.server import check_library, greeting, open_door, serve

    check_library()
    door = open_door(config)
    with door.socket, Browser(config) as browser:
        print(greeting(config, door), flush=True)
        serve(browser, door)
        return BrowseResult(config.descriptions, browser.num_decided)
