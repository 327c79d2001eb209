"""The web application: frame with search, help and colors; the summary page; the routes of the images."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from nicegui import app, run, ui

from sightwords.browsing.browser import Browser
from sightwords.browsing.gallery import Gallery, attempt, button, element, set_props
from sightwords.browsing.query import Query
from sightwords.browsing.summary import Bar, Example, Summary, summarize
from sightwords.browsing.thumbnails import LARGE_PX, MEDIA_TYPE, SMALL_PX
from sightwords.errors import SightwordsError

_HERE = Path(__file__).parent
_KEY = re.compile(r"[0-9a-f]{64}")
_DARK = "sightwords_dark"
_PROGRESS_S = 2.0  # between two looks at how much is indexed
_MAX_CLASSES = 60
_HELP = {
    "j  →": "next description",
    "k  ←": "previous description",
    "↓ ↑": "row below, row above",
    "Enter": "view the image",
    "e": "edit",
    "r": "reject",
    "a": "ask again: the next describe does",
    "u": "undo: use the describer's answer again",
    "n  p": "next, previous page",
    "/": "search",
    "s": "summary",
    "?": "this help",
    "Esc": "close, or leave the search",
}
_SEARCH_HELP = 'red bird: both words · "red bird": this phrase · -blue: not this word · feath*: words that start so'


def build(browser: Browser) -> FastAPI:
    """Return the web application that shows a description set."""
    server = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    _add_images(server, browser)

    @ui.page("/", title="sightwords browse")
    def gallery(request: Request) -> None:
        query = Query.from_url(request.query_params)
        bar = _frame(browser, request, "summary", "Summary")
        page = Gallery(browser, query)
        _help()
        with bar:
            _search_field(browser, page, query)
        ui.timer(0, page.start, once=True)  # once the visitor is there: a page that takes long is given up otherwise

    @ui.page("/summary", title="sightwords browse: summary")
    def summary(request: Request) -> None:
        _frame(browser, request, "./", "Gallery")
        with element("main", "sw-summary") as main:
            element("div", "sw-nothing", "Counting …")
        _help()

        async def start() -> None:
            if (found := await attempt(summarize, browser.index)) is not None:
                main.clear()
                with main:
                    _show_summary(found, browser.config.has_images)

        ui.timer(0, start, once=True)

    app.add_static_files("/assets", _HERE / "assets")
    ui.run_with(
        server, title="sightwords browse", dark=None, tailwind=False, reconnect_timeout=30.0, show_welcome_message=False
    )
    return server


def _add_images(server: FastAPI, browser: Browser) -> None:
    decoding = asyncio.Semaphore(2)  # each takes a whole core

    async def image(key: str, side: int) -> Response:
        if not _KEY.fullmatch(key):
            return Response("no such image", 404)
        try:
            async with decoding:
                data = await run.io_bound(browser.thumbnails.read, key, side)
        except SightwordsError as error:
            return Response(str(error), 404, media_type="text/plain")
        # a key is a hash of the image: what it names never changes
        return Response(data, media_type=MEDIA_TYPE, headers={"cache-control": "private, max-age=604800, immutable"})

    @server.get("/thumbnail/{key}")
    async def small(key: str) -> Response:
        return await image(key, SMALL_PX)

    @server.get("/image/{key}")
    async def large(key: str) -> Response:
        return await image(key, LARGE_PX)


def _frame(browser: Browser, request: Request, link: str, label: str) -> ui.element:
    """Make the top bar; return the place in its middle."""
    ui.add_head_html('<link rel="stylesheet" href="assets/style.css"><script defer src="assets/keys.js"></script>')
    ui.colors(primary="#3b8084")
    mode = ui.dark_mode({"1": True, "0": False}.get(request.cookies.get(_DARK, "")))

    def switch() -> None:  # the choice is kept in the visitor's browser
        mode.value = not mode.value
        ui.run_javascript(f"document.cookie = '{_DARK}={int(mode.value)}; path=/; max-age=31536000; samesite=strict'")

    with element("header", "sw-top"):
        with element("div", "sw-brand"):
            element("div", "sw-mark", "sightwords")
            element("div", "sw-set", browser.config.descriptions.name)
            state = element("div", "sw-state")
        middle = element("div", "sw-middle")
        with element("div", "sw-row"):
            element("a", "sw-button", label, href=link, data_act="summary")
            button("?", "sw-round", "help", "Keys and search (?)").on("click", js_handler="() => swHelp()")
            button("◐", "sw-round", "theme", "Light or dark").on("click", switch)

    def show_progress() -> None:
        done, last = browser.index.progress()
        state.set_text(browser.trouble or (f"indexing: {done:,} of {last:,}" if done < last else ""))

    ui.timer(_PROGRESS_S, show_progress)
    return middle


def _search_field(browser: Browser, page: Gallery, query: Query) -> None:
    field = ui.input(placeholder="Search the descriptions", value=query.meaning or query.words)
    field.props("dense borderless clearable debounce=250").classes("sw-search")
    set_props(field, data_act="search", aria_label="Search the descriptions")
    by_meaning = ui.toggle({False: "Words", True: "Meaning"}, value=bool(query.meaning))
    by_meaning.props("dense unelevated no-caps data-act=meaning").classes("sw-toggle")
    by_meaning.set_visibility(browser.search is not None)

    async def search() -> None:
        await page.search((field.value or "").strip(), bool(by_meaning.value))

    field.on_value_change(search)
    by_meaning.on_value_change(search)


def _help() -> None:
    with ui.dialog().classes("sw-dialog") as dialog, element("div", "sw-panel sw-help"):
        element("h2", "sw-title", "Keys")
        with element("dl"):
            for keys, meaning in _HELP.items():
                element("dt", "", keys)
                element("dd", "", meaning)
        element("h2", "sw-title", "Search")
        element("div", "sw-hint", _SEARCH_HELP)
        button("Close", "", "close").on("click", dialog.close)
    element("button", "sw-hidden", data_act="help-open", tabindex="-1", aria_hidden="true").on("click", dialog.open)


def _show_summary(summary: Summary, has_images: bool) -> None:
    with _section("The set"), element("div", "sw-figures"):
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
            for reason, count in summary.reasons:
                with _link("sw-line", reason=reason):
                    element("div", "sw-label", reason)
                    with element("div", "sw-track"):
                        ui.element("div").style(f"width: {100 * count / summary.reasons[0][1]:.2f}%")
                    element("div", "sw-count", f"{count:,}")
    sampled = f"From {summary.num_sampled:,} descriptions"
    if summary.typical:
        note = f"{sampled}: words that the class has significantly more often than others."
        with _section("Words typical of each class", note), element("div", "sw-classes"):
            for name, found in list(summary.typical.items())[:_MAX_CLASSES]:
                _typical_words(name, found)
    if summary.repeated:
        with _section("Texts that several images share"):
            for digest, count, one in summary.repeated:
                with _link("sw-same", same=digest):
                    _example(one, has_images, f"{count:,} times")
    if summary.pairs:
        with _section("Nearly identical texts", f"{sampled}."):
            for first, second, similarity in summary.pairs:
                with element("div", "sw-pair"):
                    element("div", "sw-count", f"{similarity:.0%}")
                    for one in (first, second):
                        with element("div", "sw-same"):
                            _example(one, has_images)


def _typical_words(class_name: str, found: list[tuple[str, float]]) -> None:
    with element("div", "sw-kind"):
        with _link("sw-class", **{"class": class_name}):
            element("span", "", class_name)
        with element("div", "sw-words"):
            for word, z_score in found:
                with _link("sw-word", **{"class": class_name, "q": f'"{word}"'}) as link:
                    set_props(link, title=f"z = {z_score:.1f}")
                    element("span", "", word)
            if not found:
                element("div", "sw-hint", "none")


def _example(one: Example, has_images: bool, count: str = "") -> None:
    if has_images:
        element("img", src=f"thumbnail/{one.key}", loading="lazy", alt="")
    if count:
        element("div", "sw-count", count)
    element("div", "sw-body", one.text)


def _section(title: str, note: str = "") -> ui.element:
    section = element("section")
    with section:
        element("h2", "sw-title", title)
        if note:
            element("div", "sw-hint", note)
    return section


def _figure(label: str, count: int, **query: str) -> None:
    with _link("sw-figure", **query) as figure:
        set_props(figure, data_status=query.get("status", ""))
        element("div", "sw-number", f"{count:,}")
        element("div", "sw-hint", label)


def _histogram(bars: list[Bar]) -> None:
    highest = max((count for _, count in bars), default=0)
    if not highest:
        element("div", "sw-hint", "Nothing to count yet.")
        return
    with element("div", "sw-histogram"):
        for label, count in bars:
            with element("div", "sw-bar", title=f"{label}: {count:,}"):
                ui.element("div").style(f"height: {100 * count / highest:.2f}%")
    with element("div", "sw-row sw-between sw-hint"):
        for text in (bars[0][0], f"highest bar: {highest:,}", bars[-1][0]):
            element("span", "", text)


def _link(classes: str, **query: str | int) -> ui.element:
    return element("a", classes, href=f"./?{urlencode(query)}" if query else "./")
