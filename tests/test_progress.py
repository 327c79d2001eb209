from __future__ import annotations

import os
import pty
import sys

import pytest

from sightwords import progress
from sightwords.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (61, "1 min 01 s"), (3600, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_durations_are_shown_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_plain_lines_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    with Progress("Describing", 10, "images", done=4) as shown:
        shown.advance(2, note="loss 1.5")
        shown.message("something [happened]")
        shown.advance(4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Describing: 6/10 images, ")
    assert "left, loss 1.5" in lines[0]
    assert lines[1] == "something [happened]"
    assert lines[-1].startswith("Describing: 10/10 images")
    assert "took" in lines[-1]


def test_other_processes_and_failures_say_nothing(capsys):
    with Progress("x", 1, "images", enabled=False) as quiet:
        quiet.advance()
        quiet.message("unheard")
    with pytest.raises(KeyError), Progress("x", 1, "images"):
        raise KeyError
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_live_display(monkeypatch):
    leader, follower = pty.openpty()
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(follower, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with Progress("Describing", 3, "images") as shown:
            shown.advance(2, note="[red]raw[/red]")
            shown.message("done [x]")
    seen = os.read(leader, 100_000).decode()
    os.close(leader)
    assert all(part in seen for part in ("2/3", "images/s", "[red]raw[/red]", "done [x]")), seen
