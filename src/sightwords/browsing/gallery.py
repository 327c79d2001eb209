"""The gallery: search, filters, images with their descriptions, page after page, and what can be done about each."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

from nicegui import run, ui
from nicegui.elements.mixins.text_element import TextElement

from sightwords.browsing.browser import Browser, Card, Page, Text
from sightwords.browsing.query import MAX_COUNTED, Choice, Query, choices
from sightwords.descriptions.schema import Action, Description, Review
from sightwords.errors import SightwordsError

P = ParamSpec("P")
R = TypeVar("R")

# action: key, label, what a screen reader says
_ACTIONS: dict[Action, tuple[str, str, str]] = {
    "edit": ("e", "Edit", "Edit this description"),
    "reject": ("r", "Reject", "Reject this description"),
    "ask": ("a", "Ask again", "Have the next describe ask again"),
    "restore": ("u", "Undo", "Use the describer's answer again"),
}
_DONE = {"edit": "wrote", "reject": "rejected it", "ask": "had it asked again", "restore": "undid that"}
_STATUSES = {"": "All", "ok": "Usable", "rejected": "Rejected", "failed": "Failed"}
_ORDERS = {"newest": "Newest first", "oldest": "Oldest first"}
_CLIP_SCORES: dict[float | None, str] = {
    None: "Any CLIP score",
    **{k / 100: f"CLIP score up to {k / 100:.2f}" for k in range(0, 41, 5)},
}
_MAX_CHOICES = 5000


def element(tag: str, classes: str = "", text: str = "", **props: str) -> TextElement:
    """Return an element that shows a text as it is, whatever it holds; `data_act=` sets the property `data-act`."""
    made = TextElement(tag=tag, text=text).classes(classes)
    set_props(made, **props)
    return made


def button(label: str, classes: str, act: str, says: str = "") -> TextElement:
    """Return a plain button; `act` is the name that the keyboard finds it by."""
    says = says or label
    return element("button", f"sw-button {classes}", label, data_act=act, type="button", aria_label=says, title=says)


def set_props(changed: ui.element, **props: str) -> None:
    """Set properties of an element; underscores stand for hyphens."""
    changed.props.update({name.replace("_", "-"): value for name, value in props.items()})
    changed.update()


async def attempt(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """Run a function in a thread; show its error to the visitor and return None."""
    try:
        return await run.io_bound(function, *args, **kwargs)
    except SightwordsError as error:
        ui.notify(str(error), type="negative", position="bottom", timeout=10_000)
        return None


class TextBlock:
    """A description with its buttons; it is changed in place, so that the focus stays."""

    def __init__(self, browser: Browser, text: Text, edit: Callable[[TextBlock], None]) -> None:
        self._browser, self.text = browser, text
        with element("div", "sw-text", tabindex="0") as self._element:
            self._body, self._note = element("div", "sw-body"), element("div", "sw-note")
            with element("div", "sw-foot"):
                self._status, self._source = element("div", "sw-status"), element("div", "sw-source")
                with element("div", "sw-actions"):
                    self._buttons = {action: button(label, "sw-small", action, f"{says} ({key})")
                                     for action, (key, label, says) in _ACTIONS.items()}  # fmt: skip
        self._buttons["edit"].on("click.stop", lambda: edit(self))
        for action in ("reject", "ask", "restore"):
            self._buttons[action].on("click.stop", partial(self.review, action))
        self._show(text)

    def _show(self, text: Text) -> None:
        self.text, row = text, text.row
        self._body.set_text(row.text or "no text")
        self._note.set_text(row.reason)
        self._note.set_visibility(bool(row.reason))
        status = "edited" if text.is_edited else row.status
        self._status.set_text(status)
        sample = f" · sample {row.sample}" if row.sample else ""
        score = "" if row.clip_score is None else f" · CLIP score {row.clip_score:.2f}"
        source = f"{text.prompt} · {text.describer}{sample}{score}"
        self._source.set_text(source)
        set_props(self._source, title=source)
        set_props(self._element, data_status=status, data_empty="no" if row.text else "yes")
        self._buttons["restore"].set_visibility(text.review is not None)
        self._buttons["reject"].set_visibility(row.status == "ok")

    async def review(self, action: Action, words: str = "") -> bool:
        """Store a review, show what counts then, and return whether that worked."""
        now = await attempt(self._browser.review, self.text, action, words)
        if now is not None:
            self._show(now)
        return now is not None


class Editor:
    """The dialog that edits a description, one for all of a visitor's page."""

    def __init__(self, has_images: bool) -> None:
        self._block: TextBlock | None = None
        with ui.dialog().classes("sw-dialog") as self._dialog, element("div", "sw-panel sw-editor"):
            element("h2", "sw-title", "Edit the description")
            self._image = element("img", alt="")
            self._image.set_visibility(has_images)
            self._area = ui.textarea().props("outlined autogrow autofocus aria-label=Description").classes("sw-area")
            self._area.on("keydown.ctrl.enter", self._save).on("keydown.meta.enter", self._save)
            self._answer = element("div", "sw-answer")
            element("div", "sw-hint", "The describer's answer is kept. Run sightwords embed to train with your text.")
            with element("div", "sw-row sw-end"):
                button("Cancel", "", "cancel").on("click", self._dialog.close)
                button("Save", "sw-primary", "save", "Save (Ctrl + Enter)").on("click", self._save)

    def open(self, block: TextBlock) -> None:
        """Open the dialog for a description."""
        self._block, row = block, block.text.row
        self._area.value = row.text
        set_props(self._image, src=f"thumbnail/{row.key}")
        self._answer.set_text(f"{block.text.describer} answered: {row.raw_text}" if block.text.is_edited else "")
        self._dialog.open()

    async def _save(self) -> None:
        if self._block is not None and await self._block.review("edit", self._area.value or ""):
            self._dialog.close()


class Detail:
    """The dialog with one image, large; `step` shows the image so many places on."""

    def __init__(
        self, browser: Browser, edit: Callable[[TextBlock], None], step: Callable[[int], Awaitable[None]]
    ) -> None:
        self._browser, self._edit, self.key = browser, edit, ""
        self._dialog = ui.dialog().props("maximized").classes("sw-dialog")
        with self._dialog, element("div", "sw-panel sw-detail"):
            with element("div", "sw-image"):
                self._image = element("img")
                self._image.set_visibility(browser.config.has_images)
            with element("div", "sw-side"):
                with element("div", "sw-row sw-between"):
                    with element("div", "sw-row"):
                        button("←", "", "image-previous", "Previous image (←)").on("click", lambda: step(-1))
                        button("→", "", "image-next", "Next image (→)").on("click", lambda: step(1))
                    button("Close", "", "close", "Close (Esc)").on("click", self._dialog.close)
                self._content = element("div", "sw-content")

    async def open(self, key: str) -> None:
        """Show an image with the history of its descriptions."""
        found = await attempt(lambda: (self._browser.card(key), self._browser.history(key)))
        if found is None:
            return
        card, events = found
        self.key = key
        set_props(self._image, src=f"image/{key}", alt=card.name)
        self._content.clear()
        with self._content:
            element("h2", "sw-title sw-name", card.name or card.key)
            element("div", "sw-class", card.class_name)
            for text in card.texts:
                TextBlock(self._browser, text, self._edit)
            with element("details", "sw-history"):
                element("summary", "", f"History ({len(events)})")
                for event in events:
                    with element("div", "sw-event"):
                        element("div", "sw-source", _headline(event))
                        element("div", "sw-body", event.text)
            element("div", "sw-key", f"Key {card.key}")
        self._dialog.open()


def _headline(event: Description | Review) -> str:
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(event.created_at))
    if isinstance(event, Review):
        return f"{day} · {event.author} {_DONE[event.action]}"
    reason = f": {event.reason}" if event.reason else ""
    return f"{day} · answer {event.attempt + 1} of sample {event.sample} · {event.status}{reason}"


class Gallery:
    """The gallery of one visitor; `query` is what it shows first."""

    def __init__(self, browser: Browser, query: Query) -> None:
        self._browser, self._query = browser, query
        self._page = Page([], None, None, None)
        self._turn = 0
        self._editor = Editor(browser.config.has_images)
        self._detail = Detail(browser, self._editor.open, self._step)
        with element("nav", "sw-filters"):
            self._statuses = {name: button(label, "sw-chip", f"status-{name or 'all'}")
                              for name, label in _STATUSES.items()}  # fmt: skip
            for name, chip in self._statuses.items():
                chip.on("click", partial(self._choose, "status", name or None))
            self._class = self._select("class", {}, "class_name", "Class")
            self._reason = self._select("reason", {}, "reason", "Reason")
            score = query.clip_score_below if query.clip_score_below in _CLIP_SCORES else None
            self._select("clip_score", _CLIP_SCORES, "clip_score_below", "CLIP score", score)
            self._order = self._select("order", _ORDERS, "order", "Order", query.order)
            button("Clear", "sw-chip", "clear", "Show everything again").on("click", lambda: ui.navigate.to("./"))
            self._found = element("div", "sw-found")
        self._grid = element("main", "sw-grid", id="sw-grid")
        with element("nav", "sw-pager"):
            self._previous = button("← Previous", "", "page-previous", "Previous page (p)")
            self._following = button("Next →", "", "page-next", "Next page (n)")
        self._previous.on("click", lambda: self._turn_to(self._page.previous))
        self._following.on("click", lambda: self._turn_to(self._page.following))

    async def start(self) -> None:
        """Fill in the choices and the first page."""
        selects: dict[Choice, ui.select] = {"class_name": self._class, "reason": self._reason}
        for column, select in selects.items():
            chosen = getattr(self._query, column)
            found = await attempt(choices, self._browser.index, column) or []
            options: dict[str | None, str] = {None: f"Any {column.partition('_')[0]}"}
            options |= {name: f"{name} ({n:,})" for name, n in found[:_MAX_CHOICES]}
            if chosen is not None:
                options.setdefault(chosen, chosen)
            select.set_visibility(len(options) > 1)
            select.set_options(options, value=chosen)
        for name, count in await attempt(choices, self._browser.index, "status") or []:
            self._statuses[name].set_text(f"{_STATUSES[name]} {count:,}")
        await self.show(self._query)

    async def search(self, text: str, by_meaning: bool) -> None:
        """Show what a search finds."""
        words, meaning = ("", text) if by_meaning else (text, "")
        await self.show(self._query.first_page(words=words, meaning=meaning))

    async def show(self, query: Query) -> None:
        """Show a page."""
        self._query = query
        self._turn += 1
        turn = self._turn
        self._found.set_text("Searching …")
        page = await attempt(self._browser.page, query)
        if page is None or turn != self._turn:  # another page was asked for meanwhile
            return
        self._page = page
        self._grid.clear()
        set_props(self._grid, data_turn=str(turn))
        with self._grid:
            for number, card in enumerate(page.cards):
                self._show_card(card, loading="eager" if number < 12 else "lazy")
            if not page.cards:
                element("div", "sw-nothing", "Nothing found. Remove a filter, or search for other words.")
        self._previous.set_visibility(page.previous is not None)
        self._following.set_visibility(page.following is not None)
        for name, chip in self._statuses.items():
            set_props(chip, aria_pressed="true" if name == (query.status or "") else "false")
        self._order.set_visibility(not query.meaning and query.clip_score_below is None)
        self._found.set_text(_found_text(page, query))
        ui.navigate.history.replace(f"./?{query.to_url()}".rstrip("?"))

    def _show_card(self, card: Card, loading: str) -> None:
        title = f"View {card.name or card.key}"
        with element("article", "sw-card"):
            with element("button", "sw-thumb", data_act="open", type="button", aria_label=title, title=title) as thumb:
                if self._browser.config.has_images:
                    element("img", src=f"thumbnail/{card.key}", loading=loading, alt=card.name)
                else:
                    element("div", "sw-nothing", "no images given")
            thumb.on("click", lambda: self._detail.open(card.key))
            with element("div", "sw-head"):
                element("div", "sw-class", card.class_name or "no class")
                name = card.name.rpartition("/")[2] or card.key[:12]
                element("div", "sw-name", name, title=card.name or card.key)
                if card.similarity is not None:
                    element("div", "sw-similarity", f"{card.similarity:.2f}")
            for text in card.texts:
                TextBlock(self._browser, text, self._editor.open)

    async def _turn_to(self, query: Query | None) -> None:
        if query is not None:
            await self.show(query)
            ui.run_javascript("window.scrollTo({top: 0})")

    async def _step(self, places: int) -> None:
        """Show the neighbor of the image that is shown large; behind the last one the next page begins."""
        keys = [card.key for card in self._page.cards]
        place = keys.index(self._detail.key) + places if self._detail.key in keys else 0
        if not 0 <= place < len(keys):
            query = self._page.following if place > 0 else self._page.previous
            if query is None:
                return
            await self._turn_to(query)
            keys = [card.key for card in self._page.cards]
            place = 0 if place > 0 else -1
        if keys:
            await self._detail.open(keys[place])

    def _select(self, act: str, options: dict[Any, str], field: str, label: str, value: Any = None) -> ui.select:
        can_type = not options
        made = ui.select(options, value=value, with_input=can_type).classes("sw-select")
        made.props("dense borderless options-dense" + (" hide-selected fill-input" if can_type else ""))
        set_props(made, data_act=act, aria_label=label)
        made.on_value_change(lambda event: self._choose(field, event.value))
        return made

    async def _choose(self, field: str, value: Any) -> None:
        if getattr(self._query, field) != value:
            await self.show(self._query.first_page(**{field: value}))


def _found_text(page: Page, query: Query) -> str:
    if page.num_found is None:
        return f"nearest to “{query.meaning}”"
    if page.num_found > MAX_COUNTED:
        return f"more than {MAX_COUNTED:,} descriptions"
    return f"{page.num_found:,} description{'s' * (page.num_found != 1)}"
