"""The summary: lengths, reasons, words typical of each class, texts that are nearly the same."""

from __future__ import annotations

from urllib.parse import urlencode

from nicegui import run, ui

from sightwords.browsing.browser import Browser
from sightwords.browsing.parts import words
from sightwords.browsing.summary import Bar, Summary, summarize
from sightwords.errors import SightwordsError

_MOST_CLASSES = 60


class SummaryPage:
    """The summary of one visitor.

    Args:
        browser: the data.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._place = ui.element("main").classes("sw-summary")
        with self._place:
            words("Counting …", "sw-nothing")

    async def start(self) -> None:
        """Count, then show."""
        try:
            summary = await run.io_bound(summarize, self._browser.index)
        except SightwordsError as error:
            ui.notify(str(error), type="negative", position="bottom", timeout=10_000)
            return
        if summary is None:
            return
        self._place.clear()
        with self._place:
            self._fill(summary)

    def _fill(self, summary: Summary) -> None:
        with _section("The set"), ui.element("div").classes("sw-figures"):
            _figure("descriptions", summary.num_descriptions)
            _figure("images", summary.num_images)
            for status, count in summary.statuses:
                _figure({"ok": "usable"}.get(status, status), count, status=status)
        with _section("Length in words"):
            _histogram(summary.lengths)
        if summary.clip_scores:
            with _section("CLIP score"):
                _histogram(summary.clip_scores)
        if summary.reasons:
            with _section("Reasons"):
                most = max(count for _, count in summary.reasons)
                for reason, count in summary.reasons:
                    _line(reason, count, most, urlencode({"reason": reason}))
        if summary.typical:
            note = f"Of {summary.num_sampled:,} descriptions: words that it has more often than others beyond chance."
            with _section("Words typical of each class", note), ui.element("div").classes("sw-classes"):
                for name, found in list(summary.typical.items())[:_MOST_CLASSES]:
                    self._class(name, found)
        if summary.repeated:
            with _section("The same words for several images"):
                for one in summary.repeated:
                    with _link(urlencode({"same": one.digest}), "sw-same"):
                        self._thumbnail(one.key)
                        words(f"{one.num_descriptions:,} times", "sw-count")
                        words(one.text, "sw-body")
        if summary.pairs:
            with _section("Nearly the same words", f"Of {summary.num_sampled:,} descriptions."):
                for first, second, likeness in summary.pairs:
                    with ui.element("div").classes("sw-pair"):
                        words(f"{likeness:.0%}", "sw-count")
                        for side in (first, second):
                            with ui.element("div").classes("sw-same"):
                                self._thumbnail(side.key)
                                words(side.text, "sw-body")

    def _class(self, name: str, found: list[tuple[str, float]]) -> None:
        with ui.element("div").classes("sw-kind"):
            with _link(urlencode({"class": name}), "sw-class"):
                words(name, "", "span")
            with ui.element("div").classes("sw-words"):
                for word, score in found:
                    with _link(urlencode({"class": name, "q": f'"{word}"'}), "sw-word") as link:
                        link.props["title"] = f"z = {score:.1f}"
                        words(word, "", "span")
                if not found:
                    words("none", "sw-hint")

    def _thumbnail(self, key: str) -> None:
        if self._browser.has_images:
            picture = ui.element("img")
            picture.props["src"] = f"thumbnail/{key}"
            picture.props["loading"] = "lazy"
            picture.props["alt"] = ""


def _section(title: str, note: str = "") -> ui.element:
    section = ui.element("section")
    with section:
        words(title, "sw-title", "h2")
        if note:
            words(note, "sw-hint")
    return section


def _figure(label: str, count: int, status: str = "") -> None:
    with _link(urlencode({"status": status}) if status else "", "sw-figure") as figure:
        figure.props["data-status"] = status
        words(f"{count:,}", "sw-number")
        words(label, "sw-hint")


def _histogram(bars: list[Bar]) -> None:
    most = max((bar.count for bar in bars), default=0)
    if not most:
        words("Nothing to count yet.", "sw-hint")
        return
    with ui.element("div").classes("sw-histogram"):
        for bar in bars:
            with ui.element("div").classes("sw-bar") as one:
                one.props["title"] = f"{bar.label}: {bar.count:,}"
                ui.element("div").style(f"height: {100 * bar.count / most:.2f}%")
    with ui.element("div").classes("sw-row sw-between sw-hint"):
        words(bars[0].label, "", "span")
        words(f"highest bar: {most:,}", "", "span")
        words(bars[-1].label, "", "span")


def _line(label: str, count: int, most: int, query: str) -> None:
    with _link(query, "sw-line"):
        words(label, "sw-label")
        with ui.element("div").classes("sw-track"):
            ui.element("div").style(f"width: {100 * count / most:.2f}%")
        words(f"{count:,}", "sw-count")


def _link(query: str, classes: str) -> ui.element:
    link = ui.element("a").classes(classes)
    link.props["href"] = f"./?{query}" if query else "./"
    return link
