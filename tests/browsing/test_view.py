"""The page's address: every view comes back from it, and nonsense shows the gallery."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from sightwords.browsing.browser import View, read_view
from sightwords.browsing.query import Filter


@pytest.mark.parametrize(
    "view",
    [
        View(),
        View(Filter('a & "b" <c>', "cls", "rejected", "why?", 0.25, -(2**62)), order="oldest", after=(0.0, 12)),
        View(Filter(clip_score_below=0.1), before=(0.123456789012345, 3)),
        View(meaning="a red bird", skip=96),
    ],
)
def test_a_view_comes_back(view):
    assert read_view(dict(parse_qsl(view.query()))) == view


@pytest.mark.parametrize(
    "query",
    [
        {"status": "fine"}, {"order": "random"}, {"clip_score": "nan"}, {"clip_score": "x"}, {"after": "1"},
        {"after": "0.0,999999999999999999999"}, {"skip": "-5"}, {"skip": "x"}, {"same": "1.5"}, {"before": ","},
    ],
)  # fmt: skip
def test_nonsense_is_left_out(query):
    assert read_view(query) == View()


def test_another_filter_begins_at_the_front():
    view = View(Filter("a"), after=(0.0, 7), skip=48).at_front(wanted=Filter("b"))
    assert view == View(Filter("b"))
