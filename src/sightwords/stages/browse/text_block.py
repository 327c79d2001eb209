"""One description on the page, with what can be done about it; it is changed in place, so that the focus stays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import run, ui
from nicegui.elements.mixins.text_element import TextElement

from sightwords.artifacts.description import Action
from sightwords.errors import SightwordsError
from sightwords.stages.browse.browser import Browser, Text

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
        agreement = "" if now.agreement is None else f" · agreement {now.agreement:.2f}"
        sample = f" · sample {now.sample}" if now.sample else ""
        self._who.set_text(f"{text.prompt} · {text.who}{sample}{agreement}")
        self._who.props["title"] = f"{text.prompt} · {text.who}{sample}{agreement}"
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
