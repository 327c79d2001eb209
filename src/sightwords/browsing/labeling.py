"""The page on which a person labels images with keys, those first of which the others learn most."""

from __future__ import annotations

from functools import partial

from nicegui import ui
from nicegui.events import KeyEventArguments

from sightwords.browsing.browser import Browser, LabelTask
from sightwords.browsing.gallery import attempt, button, element, set_props

_KEYS = "1234567890abcdefghijklmnopqrstuvwxyz"
_HINT = "Enter takes the label that is proposed, Space leaves the image out, Backspace goes back."


class Labeler:
    """The page of one visitor: an image, its descriptions, and a button for each class."""

    def __init__(self, browser: Browser, tasks: list[LabelTask], classes: dict[str, str]) -> None:
        self._browser, self._tasks, self._classes = browser, tasks, classes
        self._labels = dict[str, str]()
        self._place = 0
        self._keys = dict(zip(_KEYS, classes, strict=False))
        with element("main", "sw-label"):
            with element("div", "sw-image"):
                self._image = element("img")
                self._image.set_visibility(browser.config.has_images)
            with element("div", "sw-side"):
                self._progress = element("div", "sw-hint")
                self._name = element("h2", "sw-title sw-name")
                self._texts = element("div", "sw-content")
                with element("div", "sw-choices"):
                    keys = {class_id: key for key, class_id in self._keys.items()}
                    self._buttons = {
                        class_id: button(f"{keys.get(class_id, '')} {name}".strip(), "", f"class-{class_id}", name)
                        for class_id, name in classes.items()
                    }
                with element("div", "sw-row"):
                    button("Back", "", "back", "Previous image (Backspace)").on("click", partial(self._go, -1))
                    button("Leave out", "", "skip", "Next image, no label (Space)").on("click", partial(self._go, 1))
                element("div", "sw-hint", _HINT)
        for class_id, made in self._buttons.items():
            made.on("click", partial(self._label, class_id))
        ui.keyboard(self._press, repeating=False, ignore=["input", "select", "textarea"])

    async def start(self) -> None:
        """Go to the first image that nobody has labeled."""
        self._labels = await attempt(self._browser.store.labels) or {}
        places = [place for place, task in enumerate(self._tasks) if task.key not in self._labels]
        await self._show(places[0] if places else len(self._tasks))

    async def _press(self, event: KeyEventArguments) -> None:
        if not event.action.keydown or event.modifiers.ctrl or event.modifiers.meta or event.modifiers.alt:
            return
        name = str(event.key.name)
        if name in ("Backspace", " "):
            await self._go(-1 if name == "Backspace" else 1)
        elif name == "Enter" and self._place < len(self._tasks) and self._tasks[self._place].label:
            await self._label(self._tasks[self._place].label)
        elif name.lower() in self._keys:
            await self._label(self._keys[name.lower()])

    async def _label(self, class_id: str) -> None:
        if self._place >= len(self._tasks):
            return
        key = self._tasks[self._place].key
        if await attempt(self._browser.label, key, class_id):
            self._labels[key] = class_id
            await self._go(1)

    async def _go(self, places: int) -> None:
        await self._show(min(max(0, self._place + places), len(self._tasks)))

    async def _show(self, place: int) -> None:
        self._place = place
        is_end = place == len(self._tasks)
        done = sum(task.key in self._labels for task in self._tasks)
        self._progress.set_text(f"{done} of {len(self._tasks)} labeled")
        self._texts.clear()
        if is_end:
            self._name.set_text("That was the last one. Run sightwords label again: your labels count in it.")
            set_props(self._image, src="", alt="")
            return
        task = self._tasks[place]
        card = await attempt(self._browser.card, task.key)
        name = card.name.rpartition("/")[2] if card else ""  # without the folder, which may be another label
        self._name.set_text(name or task.key)
        set_props(self._image, src=f"image/{task.key}", alt=name)
        with self._texts:
            for text in card.texts if card else []:
                element("div", "sw-body", text.row.text)
        chosen = self._labels.get(task.key)
        for class_id, made in self._buttons.items():
            state = "chosen" if class_id == chosen else "proposed" if chosen is None and class_id == task.label else ""
            set_props(made, data_state=state)
