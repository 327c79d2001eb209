"""One image, large, with all its descriptions and everything that became of them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from nicegui import run, ui

from sightwords.artifacts.description import Description, Review
from sightwords.stages.browse.browser import Browser, Card
from sightwords.stages.browse.text_block import TextBlock, button, words

_DID = {"edit": "wrote", "reject": "rejected it", "ask": "wanted it asked again", "restore": "took that back"}


class Detail:
    """The dialog with one image.

    Args:
        browser: the data.
        edit: opens the editor for a block.
        step: shows the image so many places on; used by the arrow keys.
    """

    def __init__(
        self, browser: Browser, edit: Callable[[TextBlock], None], step: Callable[[int], Awaitable[None]]
    ) -> None:
        self._browser, self._edit = browser, edit
        self.key = ""
        self._dialog = ui.dialog().props("maximized").classes("sw-dialog")
        with self._dialog, ui.element("div").classes("sw-panel sw-detail"):
            with ui.element("div").classes("sw-picture"):
                self._picture = ui.element("img")
            with ui.element("div").classes("sw-side"):
                with ui.element("div").classes("sw-row sw-between"):
                    with ui.element("div").classes("sw-row"):
                        button("←", "", "image-previous", "Previous image (←)").on("click", lambda: step(-1))
                        button("→", "", "image-next", "Next image (→)").on("click", lambda: step(1))
                    button("Close", "", "close", "Close (Esc)").on("click", self._dialog.close)
                self._content = ui.element("div").classes("sw-content")

    async def open(self, key: str) -> None:
        """Show an image."""
        found = await run.io_bound(lambda: (self._browser.card(key), self._browser.history(key)))
        if found is None:
            return
        card, events = found
        self.key = key
        self._picture.props["src"] = f"picture/{key}" if self._browser.has_images else ""
        self._picture.props["alt"] = card.name
        self._picture.set_visibility(self._browser.has_images)
        self._picture.update()
        self._content.clear()
        with self._content:
            self._fill(card, events)
        self._dialog.open()

    def _fill(self, card: Card, events: list[Description | Review]) -> None:
        words(card.name or card.key, "sw-title sw-name", "h2")
        words(card.class_name, "sw-class")
        for text in card.texts:
            TextBlock(self._browser, text, self._edit)
        with ui.element("details").classes("sw-history"):
            words(f"History ({len(events)})", "", "summary")
            for event in events:
                with ui.element("div").classes("sw-event"):
                    words(_headline(event), "sw-who")
                    words(event.text, "sw-body")
        words(f"Key {card.key}", "sw-key")


def _headline(event: Description | Review) -> str:
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(event.created_at))
    if isinstance(event, Review):
        return f"{day} · {event.author} {_DID[event.action]}"
    reason = f": {event.reason}" if event.reason else ""
    return f"{day} · answer {event.attempt + 1} of sample {event.sample} · {event.status}{reason}"
