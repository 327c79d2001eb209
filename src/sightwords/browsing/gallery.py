"""The gallery: search, filters, images with their descriptions, page after page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from nicegui import run, ui

from sightwords.browsing.browser import Browser, Card, Shown, View
from sightwords.browsing.parts import Detail, Editor, TextBlock, button, words
from sightwords.browsing.query import MOST_COUNTED, choices
from sightwords.errors import SightwordsError

_STATUSES = {"": "All", "ok": "Usable", "rejected": "Rejected", "failed": "Failed"}
_ORDERS = {"newest": "Newest first", "oldest": "Oldest first"}
_CLIP_SCORES: dict[float | None, str] = {
    None: "Any CLIP score",
    **{k / 100: f"CLIP score up to {k / 100:.2f}" for k in range(0, 41, 5)},
}
_MOST_CHOICES = 5000


class Gallery:
    """The gallery of one visitor.

    Args:
        browser: the data.
        view: what to show first.
    """

    def __init__(self, browser: Browser, view: View) -> None:
        self._browser, self._view = browser, view
        self._shown: Shown | None = None
        self._turn = 0
        self._editor = Editor(browser.has_images)
        self._detail = Detail(browser, self._editor.open, self._step)
        with ui.element("nav").classes("sw-filters"):
            self._statuses = {name: button(label, "sw-chip", f"status-{name or 'all'}")
                              for name, label in _STATUSES.items()}  # fmt: skip
            for name, chip in self._statuses.items():
                chip.on("click", self._choosing_status(name))
            self._class = self._select("class", {}, "class_name", "Class")
            self._reason = self._select("reason", {}, "reason", "Reason")
            self._clip_score = self._select("clip_score", _CLIP_SCORES, "clip_score_below", "")
            self._clip_score.value = (
                view.wanted.clip_score_below if view.wanted.clip_score_below in _CLIP_SCORES else None
            )
            self._order = ui.select(_ORDERS, value=view.order).props("dense borderless options-dense")
            self._order.classes("sw-select").props["data-act"] = "order"
            self._order.on_value_change(self._reordered)
            button("Clear", "sw-chip", "clear", "Show everything again").on("click", self._clear)
            self._found = words("", "sw-found")
        self._grid = ui.element("main").classes("sw-grid")
        self._grid.props["id"] = "sw-grid"
        with ui.element("nav").classes("sw-pager"):
            self._previous = button("← Previous", "", "page-previous", "Previous page (p)")
            self._following = button("Next →", "", "page-next", "Next page (n)")
        self._previous.on("click", lambda: self._turn_to("previous"))
        self._following.on("click", lambda: self._turn_to("following"))

    async def start(self) -> None:
        """Fill in the choices and the first page."""
        for select, column, wanted in (
            (self._class, "class", self._view.wanted.class_name),
            (self._reason, "reason", self._view.wanted.reason),
        ):
            found = await run.io_bound(choices, self._browser.index, column)  # type: ignore[arg-type]
            options: dict[str | None, str] = {None: f"Any {column}"}
            options.update({name: f"{name} ({n:,})" for name, n in (found or [])[:_MOST_CHOICES]})
            if wanted is not None:
                options.setdefault(wanted, wanted)
            select.set_visibility(len(options) > 1)
            select.set_options(options, value=wanted)
        for name, count in (await run.io_bound(choices, self._browser.index, "status")) or []:
            self._statuses[name].set_text(f"{_STATUSES[name]} {count:,}")
        await self.show(self._view)

    async def search(self, text: str, by_meaning: bool) -> None:
        """Show what a search finds."""
        wanted = replace(self._view.wanted, words="" if by_meaning else text)
        await self.show(self._view.at_front(wanted=wanted, meaning=text if by_meaning else ""))

    async def show(self, view: View) -> None:
        """Show a page."""
        self._view = view
        self._turn += 1
        turn = self._turn
        self._found.set_text("searching by meaning …" if view.meaning else "searching …")
        try:
            shown = await run.io_bound(self._browser.page, view)
        except SightwordsError as error:
            ui.notify(str(error), type="negative", position="bottom", timeout=10_000)
            return
        if shown is None or turn != self._turn:  # another page was asked for meanwhile
            return
        self._shown = shown
        self._fill(shown)
        query = view.query()
        ui.navigate.history.replace(f"./?{query}" if query else "./")

    def _fill(self, shown: Shown) -> None:
        self._grid.clear()
        self._grid.props["data-turn"] = str(self._turn)
        self._grid.update()
        with self._grid:
            for number, card in enumerate(shown.cards):
                self._show_card(card, eager=number < 12)
            if not shown.cards:
                words("Nothing is found. Take a filter away, or look for other words.", "sw-nothing")
        self._previous.set_visibility(shown.previous is not None)
        self._following.set_visibility(shown.following is not None)
        for name, chip in self._statuses.items():
            chip.props["aria-pressed"] = "true" if name == (self._view.wanted.status or "") else "false"
            chip.update()
        self._order.set_visibility(not self._view.meaning and self._view.wanted.clip_score_below is None)
        self._found.set_text(_found_text(shown, self._view))

    def _show_card(self, card: Card, eager: bool) -> None:
        with ui.element("article").classes("sw-card"):
            with ui.element("button").classes("sw-thumb") as thumb:
                thumb.props["data-act"] = "open"
                thumb.props["type"] = "button"
                thumb.props["aria-label"] = thumb.props["title"] = f"Look at {card.name or card.key}"
                if self._browser.has_images:
                    picture = ui.element("img")
                    picture.props["src"] = f"thumbnail/{card.key}"
                    picture.props["loading"] = "eager" if eager else "lazy"
                    picture.props["alt"] = card.name
                else:
                    words("no images named", "sw-nothing")
            thumb.on("click", lambda: self._detail.open(card.key))
            with ui.element("div").classes("sw-head"):
                words(card.class_name or "no class", "sw-class")
                name = words(card.name.rpartition("/")[2] or card.key[:12], "sw-name")
                name.props["title"] = card.name or card.key
                if card.likeness is not None:
                    words(f"{card.likeness:.2f}", "sw-likeness")
            for text in card.texts:
                TextBlock(self._browser, text, self._editor.open)

    async def _turn_to(self, way: str) -> None:
        view: View | None = getattr(self._shown, way, None)
        if view is not None:
            await self.show(view)
            ui.run_javascript("window.scrollTo({top: 0})")

    async def _step(self, places: int) -> None:
        """Show the neighbor of the image that is shown large; behind the last one the next page begins."""
        keys = [card.key for card in self._shown.cards] if self._shown else []
        place = keys.index(self._detail.key) + places if self._detail.key in keys else 0
        if not 0 <= place < len(keys):
            way = "following" if place > 0 else "previous"
            if getattr(self._shown, way, None) is None:
                return
            await self._turn_to(way)
            keys = [card.key for card in self._shown.cards] if self._shown else []
            place = 0 if place > 0 else len(keys) - 1
        if keys:
            await self._detail.open(keys[place])

    def _choosing_status(self, name: str) -> Callable[[Any], Awaitable[None]]:
        return self._changing("status", lambda _: name or None)

    def _select(self, act: str, options: dict[Any, str], field: str, label: str) -> ui.select:
        made = ui.select(options, value=None, with_input=bool(label))
        made.props("dense borderless options-dense hide-selected fill-input" if label else "dense borderless")
        made.classes("sw-select").props["data-act"] = act
        made.props["aria-label"] = label or "CLIP score"
        made.on_value_change(self._changing(field, lambda event: event.value))
        return made

    def _changing(self, field: str, value: Callable[[Any], Any]) -> Callable[[Any], Awaitable[None]]:
        async def change(event: Any) -> None:
            chosen = value(event)
            if getattr(self._view.wanted, field) != chosen:
                await self.show(self._view.at_front(wanted=replace(self._view.wanted, **{field: chosen})))

        return change

    async def _reordered(self, event: Any) -> None:
        if event.value != self._view.order:
            await self.show(self._view.at_front(order=event.value))

    def _clear(self) -> None:
        ui.navigate.to("./")


def _found_text(shown: Shown, view: View) -> str:
    if shown.num_found is None:
        return f"nearest to “{view.meaning}”"
    if shown.num_found > MOST_COUNTED:
        return f"more than {MOST_COUNTED:,} descriptions"
    return f"{shown.num_found:,} description{'s' * (shown.num_found != 1)}"
