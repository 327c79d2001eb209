"""One description on the page, with what can be done about it; it is changed in place, so that the focus stays."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from nicegui import run, ui
from nicegui.elements.mixins.text_element import TextElement

from sightwords.browsing.browser import Browser, Card, Text
from sightwords.descriptions.schema import Action, Description, Review
from sightwords.errors import SightwordsError

# action: key, label, what a screen reader says
ACTIONS: dict[Action, tuple[str, str, str]] = {
    "edit": ("e", "Edit", "Edit this description"),
    "reject": ("r", "Reject", "Reject this description"),
    "ask": ("a", "Ask again", "Let describe ask for it again"),
    "restore": ("u", "Undo", "Let the describer's answer count again"),
}


def words(text: str, classes: str, tag: str = "div") -> TextElement:
    """Return an element that shows a text as it is, whatever it holds."""
    return TextElement(tag=tag, text=text).classes(classes)


def button(label: str, classes: str, act: str, says: str = "") -> TextElement:
    """Return a plain button; `act` is the name that the keyboard finds it by."""
    made = words(label, f"sw-button {classes}", "button")
    made.props["data-act"] = act
    made.props["type"] = "button"
    if says:
        made.props["aria-label"] = made.props["title"] = says
    return made


class TextBlock:
    """A description that can be focused.

    Args:
        browser: the data.
        text: the description.
        edit: opens the editor for a block.
    """

    def __init__(self, browser: Browser, text: Text, edit: Callable[[TextBlock], None]) -> None:
        self.browser, self.text = browser, text
        with ui.element("div").classes("sw-text") as self.element:
            self.element.props["tabindex"] = "0"
            self._body = words("", "sw-body")
            self._note = words("", "sw-note")
            with ui.element("div").classes("sw-foot"):
                self._status = words("", "sw-status")
                self._who = words("", "sw-who")
                with ui.element("div").classes("sw-actions"):
                    self._buttons = {action: button(label, "sw-small", action, f"{says} ({key})")
                                     for action, (key, label, says) in ACTIONS.items()}  # fmt: skip
        self._buttons["edit"].on("click.stop", lambda: edit(self))
        for action in ("reject", "ask", "restore"):
            self._buttons[action].on("click.stop", self._deciding(action))
        self.show(text)

    def show(self, text: Text) -> None:
        """Show a description in place of the one before."""
        self.text, now = text, text.now
        self._body.set_text(now.text or "no text")
        self._note.set_text(now.reason)
        self._note.set_visibility(bool(now.reason))
        label = "edited" if text.edited else now.status
        self._status.set_text(label)
        clip_score = "" if now.clip_score is None else f" · CLIP score {now.clip_score:.2f}"
        sample = f" · sample {now.sample}" if now.sample else ""
        self._who.set_text(f"{text.prompt} · {text.who}{sample}{clip_score}")
        self._who.props["title"] = f"{text.prompt} · {text.who}{sample}{clip_score}"
        self._who.update()
        self.element.props["data-status"] = label
        self.element.props["data-empty"] = "yes" if not now.text else "no"
        self.element.update()
        self._buttons["restore"].set_visibility(text.decided)
        self._buttons["reject"].set_visibility(now.status == "ok")

    async def decide(self, action: Action, text: str = "") -> bool:
        """Store a decision, show what counts now, and return whether that went well."""
        try:
            now = await run.io_bound(self.browser.decide, self.text, action, text)
        except SightwordsError as error:
            ui.notify(str(error), type="negative", position="bottom")
            return False
        if now is not None:
            self.show(now)
        return True

    def _deciding(self, action: Action) -> Callable[[], Awaitable[None]]:
        async def decided() -> None:
            with self.element:
                await self.decide(action)

        return decided


class Editor:
    """One dialog for all descriptions of a visitor's page.

    Args:
        has_images: whether there are pictures to show beside the text.
    """

    def __init__(self, has_images: bool) -> None:
        self._has_images = has_images
        self._block: TextBlock | None = None
        with ui.dialog().classes("sw-dialog") as self._dialog, ui.element("div").classes("sw-panel sw-editor"):
            words("Edit the description", "sw-title", "h2")
            self._picture = ui.element("img")
            self._picture.props["alt"] = ""
            self._picture.set_visibility(has_images)
            self._area = ui.textarea().props("outlined autogrow autofocus").classes("sw-area")
            self._area.props["aria-label"] = "Description"
            self._area.on("keydown.ctrl.enter", self._save).on("keydown.meta.enter", self._save)
            self._answer = words("", "sw-answer")
            words("The describer's answer is kept. Training uses your text after the next sightwords embed.", "sw-hint")
            with ui.element("div").classes("sw-row sw-end"):
                button("Cancel", "", "cancel").on("click", self._dialog.close)
                button("Save", "sw-primary", "save", "Save (Ctrl + Enter)").on("click", self._save)

    def open(self, block: TextBlock) -> None:
        """Open the dialog for a description."""
        self._block = block
        now = block.text.now
        self._area.value = now.text
        if self._has_images:
            self._picture.props["src"] = f"thumbnail/{now.key}"
            self._picture.update()
        answer = now.raw_text if block.text.edited else None
        self._answer.set_text(f"{block.text.who} answered: {answer}" if answer else "")
        self._answer.set_visibility(bool(answer))
        self._dialog.open()

    async def _save(self) -> None:
        if self._block is not None and await self._block.decide("edit", self._area.value or ""):
            self._dialog.close()


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
