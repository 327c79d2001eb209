"""The page in a real browser: a headless Chromium opens what a real `sightwords browse` serves."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.images.keys import image_key
from support.chromium import needs_chromium, open_chromium
from support.images import write_class_folders

pytestmark = [pytest.mark.slow, needs_chromium]
pytest.importorskip("nicegui", reason="nicegui is not installed")

HOSTILE = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>{{7*7}}</textarea></script>'
HOSTILE_NAME = "<img src=x onerror=window.owned=1>.png"
TOKEN = "a-token-that-is-long-enough"
SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport="
PATHS = ("/", "/summary", "/thumbnail/" + "0" * 64, "/image/" + "0" * 64, "/assets/keys.js", f"{SOCKET}polling")
WAIT_MS = 60_000  # CI is slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images and a description set: 37 usable descriptions, a hostile one, two rejected."""
    root = tmp_path_factory.mktemp("browse")
    images = write_class_folders(root / "images", num_train=12, num_val=1)
    hostile = images / "train" / "disc" / HOSTILE_NAME
    shutil.copy(images / "train" / "disc" / "000.png", hostile)
    hostile.write_bytes(hostile.read_bytes() + b" ")
    with DescriptionSet(root / "D.db", create=True) as store:
        store.add_prompt(Prompt("plain", 1, "Describe."))
        store.add_describer(DescriberInfo("hf:<b>tiny</b>", "tiny"))
        for number, path in enumerate(sorted(images.rglob("*.png"))):
            key, class_name = image_key(path.read_bytes()), path.parent.name
            store.add_images([(key, str(path.relative_to(images)), class_name)])
            text = HOSTILE if path == hostile else f"a {class_name} with mark{number}"
            status, reason = ("rejected", "<i>too</i> short") if number in (30, 31) else ("ok", "")
            store.put([Description(key, 1, 1, 0, text, status, reason)])  # type: ignore[arg-type]
    return root


@contextmanager
def served(folder, *options, **environment):
    """Run `sightwords browse` as a user does; yield what it printed, and its log on the way out."""
    log = folder / f"log-{time.monotonic_ns()}.txt"
    command = [sys.executable, "-m", "sightwords", "browse", "D.db", "--port", "0", "--name", "anna", *options]
    env = {**os.environ, "SIGHTWORDS_CACHE": str(folder / "cache"), **environment}
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=file, stderr=file)
    try:
        until = time.monotonic() + 120
        while not (found := re.search(r"http://\S+:(\d+)/\S*", log.read_text())) or not _answers(int(found[1])):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield found[0], log
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        return ask(port, "/assets/keys.js")[0] > 0
    except OSError:
        return False


def ask(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, dict(answer.headers), answer.read()


@pytest.fixture(scope="module")
def address(folder):
    with served(folder, "--images", "images") as (address, _):
        yield address


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium, address):
    """A page on the gallery; an error in the browser, or anything asked of another host, fails the test."""
    context = chromium.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: troubles.append(request.url) if not _is_own(request.url, address) else None)
    page.goto(address)
    page.wait_for_selector(".sw-text")
    yield page
    assert troubles == []
    assert page.evaluate("window.owned") is None
    context.close()


def _is_own(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http:", "ws:"), "data:", "blob:"))


def search(page, words):
    page.fill(".sw-search input", words)
    page.wait_for_function("words => location.search.includes(encodeURIComponent(words))", arg=words)
    page.wait_for_selector(".sw-text")


def usable(folder):
    with DescriptionSet(folder / "D.db") as store:
        return {row.key: row.text for row in store.select()}


def test_the_gallery_shows_images_and_descriptions_and_turns_pages(page):
    assert page.locator(".sw-card").count() == 24
    page.wait_for_function(
        "[...document.querySelectorAll('.sw-thumb img')].filter(i => i.naturalWidth == 32).length >= 4"
    )
    first = page.locator(".sw-body").first.inner_text()
    page.click("[data-act=page-next]")
    page.wait_for_function("document.querySelectorAll('.sw-card').length == 16")
    assert page.locator("[data-act=page-next]").is_hidden()
    page.click("[data-act=page-previous]")
    page.wait_for_function("document.querySelectorAll('.sw-card').length == 24")
    assert page.locator(".sw-body").first.inner_text() == first
    page.keyboard.press("k")  # from nowhere: the last one
    page.keyboard.press("j")
    page.wait_for_function("document.querySelectorAll('.sw-card').length == 16")
    page.wait_for_function("document.activeElement.classList.contains('sw-text')")


def test_search_edit_reload_restore_and_reject(page, folder):
    search(page, "mark7")
    assert page.locator(".sw-card").count() == 1
    page.hover(".sw-text")
    page.click(".sw-text [data-act=edit]")
    page.fill(".sw-editor textarea", "  ")
    page.click("[data-act=save]")
    page.wait_for_selector(".q-notification >> text=Reject it instead")
    page.fill(".sw-editor textarea", "a kingfisher, written by hand")
    page.click("[data-act=save]")
    page.wait_for_selector(".sw-text[data-status=edited]")
    assert page.locator(".sw-body").first.inner_text() == "a kingfisher, written by hand"
    page.reload()
    page.wait_for_selector(".sw-nothing")  # the old words are gone
    search(page, "kingfisher")
    assert page.locator(".sw-card .sw-note").inner_text() == "edited by human:anna"
    assert "a kingfisher, written by hand" in usable(folder).values()
    page.hover(".sw-text")
    page.click(".sw-text [data-act=restore]")
    page.wait_for_selector(".sw-text[data-status=ok]")
    assert any(text.endswith("mark7") for text in usable(folder).values())
    page.click(".sw-text [data-act=reject]")
    page.wait_for_selector(".sw-text[data-status=rejected]")
    assert not any(text.endswith("mark7") for text in usable(folder).values())


def test_filters_are_in_the_address_and_survive_a_reload(page):
    page.click("[data-act=status-rejected]")
    page.wait_for_function("location.search.includes('status=rejected')")
    page.wait_for_function("[...document.querySelectorAll('.sw-text')].every(e => e.dataset.status == 'rejected')")
    shown = page.locator(".sw-card").count()
    assert shown >= 2
    page.reload()
    page.wait_for_selector(".sw-text")
    assert page.locator(".sw-card").count() == shown
    assert page.locator("[data-act=status-rejected]").get_attribute("aria-pressed") == "true"


def test_a_hostile_description_and_file_name_are_text(page):
    search(page, "onerror")
    assert page.locator(".sw-body").first.inner_text() == HOSTILE
    assert page.locator(".sw-name").first.inner_text() == HOSTILE_NAME
    page.locator(".sw-thumb").first.click()  # large, with its history
    page.wait_for_selector(".sw-detail .sw-body")
    assert page.locator(".sw-detail h2").inner_text() == f"train/disc/{HOSTILE_NAME}"
    page.click(".sw-history summary")
    assert HOSTILE in page.locator(".sw-event").first.inner_text()
    page.locator(".sw-detail [data-act=edit]").first.click()
    page.wait_for_selector(".sw-editor textarea")
    assert page.input_value(".sw-editor textarea") == HOSTILE
    page.fill(".sw-editor textarea", HOSTILE + " again")
    page.click("[data-act=save]")
    page.wait_for_selector(".sw-detail .sw-text[data-status=edited]")
    page.goto(page.url.partition("?")[0] + "summary")
    page.wait_for_selector(".sw-figure")
    assert "<i>too</i> short" in page.locator(".sw-line").all_inner_texts()[0]
    page.goto(page.url.replace("summary", "?reason=<script>window.owned=1</script>&class=<img src=x onerror=owned=1>"))
    page.wait_for_selector(".sw-nothing")
    assert page.locator("img[src=x]").count() == 0


def test_the_keyboard_does_it_all(page, folder):
    def focused():
        return page.evaluate("document.activeElement.closest('.sw-text')?.querySelector('.sw-body').innerText ?? ''")

    def press(*keys):
        for key in keys:
            page.keyboard.press(key)

    bodies = [body.strip() for body in page.locator(".sw-body").all_inner_texts()]
    press("j")
    assert focused() == bodies[0]
    press("ArrowRight", "j")
    assert focused() == bodies[2]
    press("k", "ArrowLeft")
    assert focused() == bodies[0]
    press("ArrowDown")
    columns = page.evaluate(
        "getComputedStyle(document.querySelector('.sw-grid')).gridTemplateColumns.split(' ').length"
    )
    assert focused() == bodies[columns]
    press("ArrowUp", "Enter")
    page.wait_for_selector(".sw-detail")
    press("ArrowRight")
    page.wait_for_function("t => document.querySelector('.sw-detail .sw-body').innerText == t", arg=bodies[1])
    press("Escape")
    page.wait_for_selector(".sw-detail", state="hidden")
    press("?")
    page.wait_for_selector(".sw-help dt")
    press("Escape")
    page.wait_for_selector(".sw-help", state="hidden")
    press("/")
    page.keyboard.type("mark9")
    page.wait_for_function("document.querySelectorAll('.sw-card').length == 1")
    press("Escape", "j", "r")
    page.wait_for_selector(".sw-text[data-status=rejected]")
    press("u")
    page.wait_for_selector(".sw-text[data-status=ok]")
    press("e")
    page.wait_for_selector(".sw-editor textarea")
    page.fill(".sw-editor textarea", "typed by hand")
    press("Control+Enter")
    page.wait_for_selector(".sw-text[data-status=edited]")
    page.wait_for_selector(".sw-editor", state="hidden")
    press("a")
    page.wait_for_function("document.querySelector('.sw-note').innerText.startsWith('asked again')")
    with DescriptionSet(folder / "D.db") as store:
        assert "ask" in {review.action for review in store.last_reviews(1, 1).values()}
    press("s")
    page.wait_for_url("**/summary")
    page.wait_for_selector(".sw-figure")


def test_dark_and_light(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    page.wait_for_selector("body.body--light")
    light = page.evaluate(ground)
    page.click("[data-act=theme]")
    page.wait_for_selector("body.body--dark")
    assert page.evaluate(ground) != light
    page.reload()
    page.wait_for_selector("body.body--dark")


def test_it_fits_a_phone(chromium, address):
    page = chromium.new_page(viewport={"width": 375, "height": 700})
    page.set_default_timeout(WAIT_MS)
    for path in ("", "summary"):
        page.goto(address + path)
        page.wait_for_selector(".sw-text, .sw-figure")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.close()


def test_another_name_of_this_machine_is_refused(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    assert ask(port, "/")[0] == 200
    for path in PATHS:
        assert ask(port, path, Host="evil.example")[0] == 403
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": "http://evil.example"}
    upgrade |= {"Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert ask(port, f"{SOCKET}websocket", **upgrade)[0] == 403


def test_other_addresses_need_the_token_which_is_printed_once(folder, chromium):
    with served(folder, "--host", "0.0.0.0", SIGHTWORDS_BROWSE_TOKEN="") as (address, log):
        port, token = re.search(r":(\d+)/\?token=(\S+)", address).groups()
        for path in PATHS:
            assert ask(int(port), path)[0] == 401
        page = chromium.new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(f"http://127.0.0.1:{port}/?token={token}&q=mark5")
        page.wait_for_selector(".sw-text")  # the page's websocket was let in
        page.wait_for_function("!location.href.includes('token') && location.search.includes('mark5')")
        assert token not in page.content()
        page.close()
        assert log.read_text().count(token) == 1


def test_a_given_token_is_not_printed_and_the_end_says_what_was_changed(folder):
    with served(folder, "--host", "0.0.0.0", SIGHTWORDS_BROWSE_TOKEN=TOKEN) as (address, log):
        port = re.search(r":(\d+)/", address)[1]
        assert ask(int(port), "/assets/keys.js")[0] == 401
        assert ask(int(port), f"/?token={TOKEN}")[0] == 200
        command = [sys.executable, "-m", "sightwords", "browse", "D.db", "--port", port]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 2
        assert f"Cannot listen on 127.0.0.1, port {port}" in done.stderr
        assert "Traceback" not in done.stderr
    assert TOKEN not in log.read_text()
    assert "Closed D.db: nothing was changed" in log.read_text()


def test_a_person_labels_images_with_keys(folder, chromium):
    keys = [image_key(path.read_bytes()) for path in sorted((folder / "images" / "train" / "bar").iterdir())[:3]]
    rows = "".join(f'{key},disc,disc,"{{""disc"": 0.6, ""<b>bar</b>"": 0.4}}"\n' for key in keys)
    (folder / "labels.csv").write_text(f"key,label,label_name,probabilities\n{rows}")
    with served(folder, "--images", "images", "--label", "labels.csv") as (address, log):
        page = chromium.new_page()
        page.goto(address)
        assert address.endswith("/label")
        page.wait_for_selector("[data-state=proposed]")
        assert page.inner_text(".sw-choices").split("\n") == ["1 <b>bar</b>", "2 disc"]  # a name is text
        page.keyboard.press("Enter")  # takes the proposal
        page.wait_for_function("document.querySelector('.sw-hint').innerText.startsWith('1 of 3')")
        page.keyboard.press("1")
        page.wait_for_function("document.querySelector('.sw-hint').innerText.startsWith('2 of 3')")
        page.keyboard.press("Backspace")
        page.wait_for_selector("[data-act='class-<b>bar</b>'][data-state=chosen]")
        page.keyboard.press(" ")
        page.wait_for_selector("[data-act=class-disc][data-state=proposed]")
        page.click("[data-act=class-disc]")
        page.wait_for_function("document.querySelector('.sw-hint').innerText.startsWith('3 of 3')")
        assert "last one" in page.inner_text(".sw-name")
        page.close()
    assert "3 labeled" in log.read_text()
    with DescriptionSet(folder / "D.db") as store:
        assert store.labels() == dict(zip(keys, ("disc", "<b>bar</b>", "disc"), strict=True))
