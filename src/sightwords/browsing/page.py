"""The pages' frame: top bar, search, help, light and dark; and the routes of the pictures."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from fastapi import FastAPI, Request, Response
from nicegui import app, run, ui

from sightwords.browsing.browser import Browser, View, read_view
from sightwords.browsing.gallery import Gallery
from sightwords.browsing.parts import button, words
from sightwords.browsing.summary_page import SummaryPage
from sightwords.browsing.thumbnails import LARGE, MEDIA_TYPE, THUMBNAIL
from sightwords.errors import SightwordsError

_HERE = Path(__file__).parent
_KEY = re.compile(r"[0-9a-f]{64}")
_DARK = "sightwords_dark"
_LOOK_S = 2.0  # between two looks at how much is indexed
_HELP = (
    ("j  →", "next description"),
    ("k  ←", "previous description"),
    ("↓ ↑", "row below, row above"),
    ("Enter", "look at the image"),
    ("e", "edit"),
    ("r", "reject"),
    ("a", "ask again: the next describe does"),
    ("u", "undo: the describer's answer counts again"),
    ("n  p", "next, previous page"),
    ("/", "search"),
    ("s", "summary"),
    ("?", "this help"),
    ("Esc", "close, or leave the search"),
)
_SEARCH_HELP = 'red bird: both words · "red bird": as it stands · -blue: not this word · feath*: what begins so'


def build(browser: Browser) -> FastAPI:
    """Return the web application that shows a description set."""
    server = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    _add_pictures(server, browser)

    @ui.page("/", title="sightwords browse")
    def gallery(request: Request) -> None:
        _gallery(browser, read_view(request.query_params), _is_dark(request))

    @ui.page("/summary", title="sightwords browse: summary")
    def summary(request: Request) -> None:
        _frame(browser, _is_dark(request), "./", "Gallery")
        page = SummaryPage(browser)
        _help()
        ui.timer(0, page.start, once=True)

    app.add_static_files("/assets", _HERE / "assets")
    ui.run_with(
        server, title="sightwords browse", dark=None, tailwind=False, reconnect_timeout=30.0, show_welcome_message=False
    )
    return server


def _gallery(browser: Browser, view: View, dark: bool | None) -> None:
    bar = _frame(browser, dark, "summary", "Summary")
    page = Gallery(browser, view)
    _help()
    with bar:
        field = ui.input(placeholder="Search the descriptions", value=view.meaning or view.wanted.words)
        field.props("dense borderless clearable debounce=250").classes("sw-search")
        field.props["data-act"] = "search"
        field.props["aria-label"] = "Search the descriptions"
        by_meaning = ui.toggle({False: "Words", True: "Meaning"}, value=bool(view.meaning))
        by_meaning.props("dense unelevated no-caps").classes("sw-toggle").props["data-act"] = "meaning"
        by_meaning.set_visibility(browser.meaning is not None)

    async def search() -> None:
        await page.search((field.value or "").strip(), bool(by_meaning.value))

    field.on_value_change(search)
    by_meaning.on_value_change(search)
    ui.timer(0, page.start, once=True)  # once the visitor is there: a page that takes long is given up otherwise


def _frame(browser: Browser, dark: bool | None, link: str, label: str) -> ui.element:
    """Make the top bar; return the place in its middle."""
    ui.add_head_html('<link rel="stylesheet" href="assets/style.css"><script defer src="assets/keys.js"></script>')
    ui.colors(primary="#3b8084")
    mode = ui.dark_mode(dark)
    with ui.element("header").classes("sw-top"):
        with ui.element("div").classes("sw-brand"):
            words("sightwords", "sw-mark")
            words(browser.config.descriptions.name, "sw-set")
            state = words("", "sw-state")
        middle = ui.element("div").classes("sw-middle")
        with ui.element("div").classes("sw-row"):
            with ui.element("a").classes("sw-button") as other:
                other.props["href"], other.props["data-act"] = link, "summary"
                words(label, "", "span")
            button("?", "sw-round", "help", "Keys and search (?)").on("click", js_handler="() => swHelp()")
            button("◐", "sw-round", "theme", "Light or dark").on("click", lambda: _switch(mode))

    def look() -> None:
        done, last = browser.progress()
        state.set_text(browser.trouble or (f"indexing: {done:,} of {last:,}" if done < last else ""))

    ui.timer(_LOOK_S, look)
    return middle


def _switch(mode: ui.dark_mode) -> None:
    """Change to dark, to light; the choice is kept in the visitor's browser."""
    mode.value = not mode.value
    ui.run_javascript(f"document.cookie = '{_DARK}={int(mode.value)}; path=/; max-age=31536000; samesite=strict'")


def _is_dark(request: Request) -> bool | None:
    return {"1": True, "0": False}.get(request.cookies.get(_DARK, ""))


def _help() -> None:
    with ui.dialog().classes("sw-dialog") as dialog, ui.element("div").classes("sw-panel sw-help"):
        words("Keys", "sw-title", "h2")
        with ui.element("dl"):
            for keys, meaning in _HELP:
                words(keys, "", "dt")
                words(meaning, "", "dd")
        words("Search", "sw-title", "h2")
        words(_SEARCH_HELP, "sw-hint")
        button("Close", "", "close").on("click", dialog.close)
    opener = ui.element("button").classes("sw-hidden")
    opener.props["data-act"], opener.props["tabindex"], opener.props["aria-hidden"] = "help-open", "-1", "true"
    opener.on("click", dialog.open)


def _add_pictures(server: FastAPI, browser: Browser) -> None:
    working = asyncio.Semaphore(2)  # decoding takes a whole core

    async def picture(key: str, side: int) -> Response:
        if not _KEY.fullmatch(key):
            return Response("no such image", 404)
        try:
            async with working:
                data = await run.io_bound(browser.pictures.read, key, side)
        except SightwordsError as error:
            return Response(str(error), 404, media_type="text/plain")
        # a key is a hash of the image: what it names never changes
        return Response(data, media_type=MEDIA_TYPE, headers={"cache-control": "private, max-age=604800, immutable"})

    @server.get("/thumbnail/{key}")
    async def thumbnail(key: str) -> Response:
        return await picture(key, THUMBNAIL)

    @server.get("/picture/{key}")
    async def large(key: str) -> Response:
        return await picture(key, LARGE)
