"""Tests of the page: whatever a description, a name or a class holds is shown as text, and the page stands alone."""

from __future__ import annotations

import base64
import io
import re
import tracemalloc
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sightwords.descriptions.pilot import Bar, Entry, histogram, thumbnail, write_page
from support.images import draw

PROMPT = "Describe the image."
VOID = {"meta", "img", "input", "br"}
HOSTILE = '</p><script>alert(1)</script><img src=x onerror=alert(2)>" onload="x" {{ 7*7 }} &amp; \'q\''


class Page(HTMLParser):
    """Reads a page: its elements, the text of each class, and whether every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.texts, self.attributes = Counter(), [], {}, []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("class")))
            self.texts.setdefault(dict(attrs).get("class"), []).append("")

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1][1]][-1] += data

    def of(self, name):
        return [text.strip() for text in self.texts.get(name, [])]

    def values(self, tag, attribute):
        return [value for t, a, value in self.attributes if (t, a) == (tag, attribute)]


def entry(name="a.jpg", text="A red disc.", **others):
    return Entry(name, others.pop("class_name", "disc"), others.pop("picture", None), PROMPT, text, **others)


@pytest.fixture
def show(tmp_path):
    """Return a function that writes a page and reads it again."""

    def write(entries, title="A pilot", facts=(), **others):
        path = tmp_path / "out" / "page.html"
        write_page(path, title, facts, entries, **others)
        assert [p.name for p in path.parent.iterdir()] == ["page.html"]  # no half-written file beside it
        return Page(path.read_text(encoding="utf-8"))

    return write


def test_what_there_is_to_see(show):
    page = show(
        [
            entry("train/a.jpg", agreement=0.267, num_prompt_tokens=1312, num_text_tokens=12),
            entry("b.jpg", "Nothing.", status="rejected", reason="too short", raw_text="**Nothing.**"),
            entry("c.jpg", "", status="failed", reason="no answer in 120 s", class_name=""),
        ],
        facts=[("Describer", "server:m"), ("Usable", "33%")],
        table=[("", "90 that remain", "all 100"), ("Cost", "1.00 USD (0.90 to 1.10 USD)", "2.00 USD")],
        notes=["3 images tell little."],
    )
    assert page.of("badge") == ["failed", "rejected"]
    assert page.of("reason") == ["no answer in 120 s", "too short"]
    assert page.of("text") == ["Nothing.", "A red disc."]
    assert page.of("text none") == ["No text"]
    assert page.of("raw") == ["**Nothing.**"]
    assert page.of("class") == ["no class", "disc", "disc"]
    assert page.of("name") == ["c.jpg", "b.jpg", "train/a.jpg"]
    assert page.of("figure") == ["agreement 0.27", "1,312 tokens in, 12 out"]
    assert page.of("range") == ["0.90 to 1.10 USD"]
    assert page.of("prompt") == [PROMPT]
    plain = [text for text in page.of(None) if text]
    for told in ("Describer", "server:m", "90 that remain", "1.00 USD", "2.00 USD", "3 images tell little."):
        assert told in plain


def test_what_failed_or_was_rejected_comes_first_and_can_be_seen_alone(show):
    states = ["ok", "rejected", "ok", "failed", "rejected"]
    page = show([entry(f"{i}.jpg", status=status) for i, status in enumerate(states)])
    assert page.of("name") == ["3.jpg", "1.jpg", "4.jpg", "0.jpg", "2.jpg"]
    assert page.of("number") == ["5", "1", "2", "2"]
    assert page.values("input", "id") == ["show-all", "show-failed", "show-rejected", "show-ok"]
    assert page.values("label", "for") == page.values("input", "id")


def test_there_is_no_choice_where_all_are_alike(show):
    assert show([entry(), entry("b.jpg")]).tags["input"] == 0


def test_markup_in_texts_names_and_classes_is_shown_as_text(show):
    hostile = Entry(
        HOSTILE, HOSTILE, draw("disc", 1), HOSTILE, HOSTILE, HOSTILE + "raw", "rejected", HOSTILE, 0.5, 1, 1
    )
    other = Entry(HOSTILE, HOSTILE, None, HOSTILE + "?", HOSTILE)
    page = show([hostile, other], HOSTILE, [(HOSTILE, HOSTILE)], table=[(HOSTILE,) * 2] * 2, notes=[HOSTILE])
    assert page.tags["script"] == 0
    assert page.tags["img"] == 1
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    for name in ("text", "class", "name", "reason", "prompt"):
        assert set(page.of(name)) == {HOSTILE}
    assert page.of("raw") == [HOSTILE + "raw", HOSTILE + "?"]
    assert page.values("img", "alt") == [HOSTILE]
    assert page.values("td", "data-column") == [HOSTILE]


def test_the_page_stands_alone(show, tmp_path):
    show([entry(picture=draw("disc", 1))])
    html = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href|action)\s*=\s*(?!"data:)', html) == []
    assert re.findall(r"url\(|@import|https?:", html) == []
    assert "default-src 'none'" in html


def test_pictures_are_shown_small_and_jpegs_are_kept(show):
    wide, jpeg = Image.new("RGBA", (900, 300), (10, 200, 30, 255)), thumbnail(draw("bar", 2))
    page = show([entry("a.png", picture=wide), entry("b.jpg", picture=jpeg), entry("c.jpg")])
    data = [base64.b64decode(src.removeprefix("data:image/jpeg;base64,")) for src in page.values("img", "src")]
    assert [Image.open(io.BytesIO(d)).format for d in data] == ["JPEG", "JPEG"]
    assert Image.open(io.BytesIO(data[0])).size == (320, 107)
    assert data[1] == jpeg
    assert wide.size == (900, 300)


def test_the_prompt_is_shown_once_and_others_with_their_entries(show):
    entries = [
        Entry("a", "disc", None, "Describe the disc.", "One."),
        Entry("b", "bar", None, "Describe the bar.", "Two."),
        Entry("c", "disc", None, "Describe the disc.", "Three."),
    ]
    page = show(entries)
    assert page.of("prompt") == ["Describe the disc."]
    assert page.of("raw") == ["Describe the bar."]
    page = show(entries, prompt="Describe the {class_name}.")
    assert page.of("prompt") == ["Describe the {class_name}."]
    assert page.of("raw") == ["Describe the disc.", "Describe the bar.", "Describe the disc."]


def test_any_text_can_be_written(show):
    page = show([entry("bad\udcff.jpg", "猫 🐦 العربية\r\nnext\x00"), entry("x\udcfe", "plain")], "title \ud800")
    assert page.of("name") == ["bad?.jpg", "x?"]
    assert page.of("text")[0].startswith("猫 🐦 العربية")


def test_a_page_without_entries_says_so(show):
    page = show([])
    assert page.of("empty") == ["There is nothing to show."]
    assert page.tags["svg"] == 0


def test_an_error_midway_leaves_the_old_page(tmp_path):
    path = tmp_path / "page.html"
    write_page(path, "old", [], [entry()])
    before = path.read_bytes()

    def broken():
        yield entry()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        write_page(path, "new", [], broken())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_memory_does_not_grow_with_the_number_of_entries(tmp_path):
    jpeg = np.random.default_rng(0).bytes(30_000)
    write_page(tmp_path / "warm.html", "t", [], [entry(picture=jpeg)])
    tracemalloc.start()
    try:
        write_page(tmp_path / "page.html", "t", [], (entry(f"{i}.jpg", picture=jpeg) for i in range(400)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "page.html").stat().st_size > 16_000_000
    assert peak < 4_000_000


def test_the_bars_of_the_histogram_have_equal_width_and_hold_all():
    assert histogram(Counter()) == []
    assert histogram(Counter({3: 2, 5: 1})) == [Bar(3, 3, 2), Bar(4, 4, 0), Bar(5, 5, 1)]
    lengths = Counter(np.random.default_rng(0).integers(0, 400, 500).tolist())
    bars = histogram(lengths)
    assert sum(bar.count for bar in bars) == 500
    assert {bar.last - bar.first for bar in bars} == {19}
    assert len(bars) <= 24
    assert [bar.first for bar in bars[1:]] == [bar.last + 1 for bar in bars[:-1]]
    assert sum(bar.count for bar in histogram(Counter({1: 1, 900_000: 1}))) == 2
    assert len(histogram(Counter({1: 1, 900_000: 1}))) <= 24


def test_the_histogram_is_drawn(show):
    page = show([entry(text="one two three"), entry(text="one two three four"), entry(text="", status="failed")])
    assert page.tags["rect"] == 2
    assert page.of("axis") == [""]
    assert {"3", "4 words", "3 words: 1", "4 words: 1"} <= set(page.of(None))
