"""The forecast of a pilot: known answers, and how often its intervals hold the truth.

Its page: whatever a description, a name or a class holds is shown as text, and the page stands alone.
"""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from sightwords.descriptions.budget import Price
from sightwords.descriptions.pilot import (
    Forecast,
    estimate,
    forecast_lines,
    histogram,
    make_forecast,
    measure_rate,
    write_pilot_page,
)
from sightwords.descriptions.questions import Target
from sightwords.descriptions.schema import Description, Prompt
from sightwords.errors import ModelError

SINCE = 1000.0


def answer(number, status="ok", tokens=(300, 50), seconds=0.2, at=None):
    created_at = SINCE + 60 + number / 5 if at is None else at
    return Description(f"k{number:03d}", 1, 1, 0, "x" * 160, status, "", *tokens, seconds, created_at)


def test_equal_answers_give_exact_figures_without_ranges():
    pilot = [[answer(i, "rejected"), answer(i)] for i in range(50)]
    found = make_forecast(pilot, SINCE, num_left=950, price=Price(input=1.0, output=4.0, per_hour=7.2))
    assert found.table == [
        ("", "950 that remain", "all 1,000"),
        ("Time", "3 min 10 s", "3 min 20 s"),  # 5 a second
        ("Requests", "1,900", "2,000"),
        ("Tokens sent", "570,000", "600,000"),
        ("Tokens received", "95,000", "100,000"),
        ("Cost", "1.33 USD", "1.40 USD"),
        ("Storage", "760.0 kB", "800.0 kB"),
    ]
    assert dict(found.facts) == {
        "Pilot": "50 images, 50 descriptions",
        "Usable": "100.0% (92.9% to 100.0%)",  # Wilson
        "Rate": "5.00 descriptions a second",
    }


@pytest.mark.parametrize("num_pilot", [6, 40])
def test_intervals_hold_the_truth_about_95_times_of_100(num_pilot):
    rng = np.random.default_rng(num_pilot)
    held = 0
    for _ in range(1000):
        texts = rng.gamma(4, 20, 600)
        found = estimate(np.arange(num_pilot), texts[:num_pilot], 600 - num_pilot)
        held += found.low <= texts[num_pilot:].sum() <= found.high
    assert 0.91 <= held / 1000 <= 0.97


def test_descriptions_of_one_image_are_one_observation():
    texts = np.random.default_rng(0).gamma(4, 20, 200)
    alike = estimate(np.repeat(np.arange(200), 4), np.repeat(texts, 4), 100_000)
    apart = estimate(np.arange(800), np.repeat(texts, 4), 100_000)
    assert (alike.high - alike.low) / (apart.high - apart.low) == pytest.approx(2.0, rel=0.05)


def test_what_the_describer_does_not_report_is_left_out_and_said():
    pilot = [[answer(i, tokens=(None, None), seconds=None, at=0.0)] for i in range(40)]
    found = make_forecast(pilot, SINCE, 360, Price(input=1, output=1))
    assert [row[0] for row in found.table] == ["", "Requests", "Storage"]
    assert any("does not report" in note for note in found.notes)
    assert make_forecast(pilot, SINCE, 360, Price()).table[2][0] == "Cost"  # free: needs no tokens
    assert any("--prices" in note for note in make_forecast(pilot, SINCE, 360).notes)
    mixed = [[answer(i)] for i in range(39)] + [[answer(39, "failed", (None, None))]]
    assert make_forecast(mixed, SINCE, 360).table[3][0] == "Tokens sent"


def test_small_and_empty_pilots():
    found = make_forecast([[answer(0)]], SINCE, 899)
    assert " to " not in found.table[3][1]
    assert any("rough guess" in note for note in found.notes)
    with pytest.raises(ModelError, match="no description"):
        make_forecast([], SINCE, 10)


def served(num, concurrency, latency_s, load_s):
    """Return arrivals of a server that keeps `concurrency` questions in flight after loading."""
    rng, free, arrivals = np.random.default_rng(0), [load_s] * concurrency, []
    for _ in range(num):
        slot = int(np.argmin(free))
        took = latency_s * rng.uniform(0.8, 1.2)
        free[slot] += took
        arrivals.append((free[slot], took))
    return arrivals


def test_the_rate_leaves_the_start_out_where_it_can():
    assert measure_rate(served(200, 8, 2.0, load_s=60.0)) == (pytest.approx(4.0, rel=0.1), True)
    batches = [(20 + 4.0 * (b + 1) + 0.001 * i, 4.0 / 8) for b in range(7) for i in range(8)]
    assert measure_rate(batches) == (pytest.approx(2.0, rel=0.01), True)
    rate, steady = measure_rate(served(50, 64, 2.0, load_s=0.0))  # a single wave
    assert (rate, steady) == (pytest.approx(50 / 2.4, rel=0.05), False)
    assert measure_rate([]) == (0.0, True)


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


def test_an_empty_page_says_so(show):
    assert "There is nothing to show." in show([])


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


def test_the_bars_of_the_histogram_have_equal_width_and_hold_all():
    assert histogram([]) == []
    assert histogram([3, 3, 5]) == [(3, 3, 2), (4, 4, 0), (5, 5, 1)]
    bars = histogram(np.random.default_rng(0).integers(0, 400, 500).tolist())
    assert sum(count for *_, count in bars) == 500
    assert {last - first for first, last, _ in bars} == {16}
    assert len(bars) <= 24


def test_lines_are_aligned():
    first, head, cost, note = forecast_lines(FORECAST)
    assert (first, note) == ("Usable: 33%.", "A note.")
    assert head.index("all 100") == cost.index("2.00 USD")
