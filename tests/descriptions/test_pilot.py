"""The page of a pilot: whatever a description, a name or a class holds is shown as text, and the page stands alone."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from sightwords.descriptions.cost import Forecast
from sightwords.descriptions.pilot import Bar, forecast_lines, histogram, write_pilot_page
from sightwords.descriptions.questions import Target
from sightwords.descriptions.schema import Description, Prompt

HOSTILE = '</p><script>alert(1)</script><img src=x onerror=alert(2)>" onload="x" {{ 7*7 }} &amp; \'q\''
TABLE = [("", "90 that remain", "all 100"), ("Cost", "1.00 USD (0.90 USD to 1.10 USD)", "2.00 USD")]
FORECAST = Forecast([("Usable", "33%")], TABLE, ["A note."])


class File:
    """Stands where an image's bytes lie."""

    name = "a.png"

    def __init__(self, data: bytes | Exception) -> None:
        self.data = data

    def read(self):
        if isinstance(self.data, Exception):
            raise self.data
        return self.data


def answered(name, text, class_name="disc", member=None, **others):
    return Target(name, name, class_name, member), [Description(name, 1, 1, 0, text, **others)]


@pytest.fixture
def show(tmp_path):
    """Return a function that writes a page and reads it again."""

    def write(answers, prompt="Describe the image.", title="A pilot"):
        path = tmp_path / "out" / "page.html"
        write_pilot_page(path, title, answers, FORECAST, Prompt("plain", 1, prompt), "server:m")
        assert [p.name for p in path.parent.iterdir()] == ["page.html"]  # no half-written file beside it
        return path.read_text(encoding="utf-8")

    return write


def test_what_there_is_to_see(show):
    html = show(
        [
            answered("a.jpg", "A red disc.", clip_score=0.267, num_prompt_tokens=1312, num_text_tokens=12),
            answered("b.jpg", "Nothing.", status="rejected", reason="too short", raw_text="**Nothing.**"),
            answered("c.jpg", "", "", status="failed", reason="no answer in 120 s"),
        ],
        "Describe the {class_name}.",
    )
    order = ["no answer in 120 s", "c.jpg", "too short", "**Nothing.**", "b.jpg", "A red disc.", "a.jpg"]
    places = [html.index(f">{part}<") for part in order]
    assert places == sorted(places)  # what went wrong comes first
    for part in ("server:m", "33%", "90 that remain", "0.90 USD to 1.10 USD", "A note.", "CLIP score 0.27", "no class"):
        assert part in html
    assert "1,312 tokens in, 12 out" in html
    assert html.count("Describe the disc.") == 2
    assert html.count("<rect") == 3


def test_markup_and_odd_characters_are_shown_as_text(show):
    html = show([answered("bad\udcff.jpg", HOSTILE, HOSTILE, reason=HOSTILE, raw_text=HOSTILE + "raw")], title=HOSTILE)
    assert HOSTILE not in html
    assert "<script" not in html
    assert html.count(str(escape(HOSTILE))) == 6  # title twice, text, class, reason, raw text
    assert "bad?.jpg" in html


def test_the_page_stands_alone_with_its_thumbnails(show):
    buffer = io.BytesIO()
    Image.new("RGB", (900, 300), "green").save(buffer, "PNG")
    html = show([answered("a", "One.", member=File(buffer.getvalue())), answered("b", "Two.", member=File(OSError()))])
    (source,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert Image.open(io.BytesIO(base64.b64decode(source))).size == (320, 107)
    assert re.findall(r'(?:src|href|action)\s*=\s*(?!"data:)|url\(|@import|https?:', html) == []


def test_an_error_midway_leaves_the_old_page(show, tmp_path):
    before = show([])
    assert "There is nothing to show." in before
    with pytest.raises(RuntimeError, match="gone"):
        show([answered("a.jpg", "Two.", member=File(RuntimeError("gone")))])
    assert (tmp_path / "out" / "page.html").read_text(encoding="utf-8") == before


def test_the_bars_of_the_histogram_have_equal_width_and_hold_all():
    assert histogram([]) == []
    assert histogram([3, 3, 5]) == [Bar(3, 3, 2), Bar(4, 4, 0), Bar(5, 5, 1)]
    bars = histogram(np.random.default_rng(0).integers(0, 400, 500).tolist())
    assert sum(bar.count for bar in bars) == 500
    assert {bar.last - bar.first for bar in bars} == {16}
    assert len(bars) <= 24


def test_lines_are_aligned():
    first, head, cost, note = forecast_lines(FORECAST)
    assert (first, note) == ("Usable: 33%.", "A note.")
    assert head.index("all 100") == cost.index("2.00 USD")
