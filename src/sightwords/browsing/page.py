"""The web application: frame with search, help and colors; the summary page; the routes of the images."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from fastapi import FastAPI, Request, Response
from nicegui import app, run, ui

from sightwords.browsing.browser import Browser
from sightwords.browsing.gallery import Gallery, attempt, button, element, set_props
from sightwords.browsing.labeling import Labeler
from sightwords.browsing.query import Query
from sightwords.browsing.summary import summarize
from sightwords.browsing.thumbnails import LARGE_PX, MEDIA_TYPE, SMALL_PX
from sightwords.errors import SightwordsError
from sightwords.files import html_template

_HERE = Path(__file__).parent
_KEY = re.compile(r"[0-9a-f]{64}")
_DARK = "sightwords_dark"
_PROGRESS_S = 2.0  # between two looks at how much is indexed
_MAX_CLASSES = 60


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
        main = ui.html('<div class="sw-nothing">Counting …</div>', sanitize=False, tag="main").classes("sw-summary")
        _help()

        async def start() -> None:
            if (found := await attempt(_summary_html, browser)) is not None:
                main.set_content(found)  # the template shows every text as text

        ui.timer(0, start, once=True)

    if browser.config.label:
        tasks, classes = browser.label_tasks

        @ui.page("/label", title="sightwords browse: label")
        def label(request: Request) -> None:
            _frame(browser, request, "./", "Gallery", keys=False)
            ui.timer(0, Labeler(browser, tasks, classes).start, once=True)

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


def _frame(browser: Browser, request: Request, link: str, label: str, keys: bool = True) -> ui.element:
    """Make the top bar, with or without the gallery's keys; return the place in its middle."""
    script = '<script defer src="assets/keys.js"></script>' if keys else ""
    ui.add_head_html(f'<link rel="stylesheet" href="assets/style.css">{script}')
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
            if keys and browser.config.label:
                element("a", "sw-button", "Label", href="label", data_act="label")
            element("a", "sw-button", label, href=link, data_act="summary")
            if keys:
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
        ui.html((_HERE / "assets" / "help.html").read_text(encoding="utf-8"), sanitize=False)
        button("Close", "", "close").on("click", dialog.close)
    element("button", "sw-hidden", data_act="help-open", tabindex="-1", aria_hidden="true").on("click", dialog.open)


def _summary_html(browser: Browser) -> str:
    return html_template(_HERE / "summary.html.jinja").render(
        summary=summarize(browser.index), has_images=browser.config.has_images, max_classes=_MAX_CLASSES
    )
