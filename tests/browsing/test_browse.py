"""Before the page and after it: what is missing is told, and what was decided."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sightwords.browsing.browse import BrowseResult
from sightwords.browsing.browse import browse as run
from sightwords.browsing.config import BrowseConfig
from sightwords.errors import ArtifactError, MissingExtraError


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(MissingExtraError, match=r"sightwords\[browse\]"):
        run(BrowseConfig(tmp_path / "D.db"))


def test_a_missing_set_is_told(tmp_path):
    pytest.importorskip("nicegui", reason="nicegui is not installed")
    with pytest.raises(ArtifactError, match="no description set"):
        run(BrowseConfig(tmp_path / "D.db", port=0))


def test_the_result_says_what_was_decided_and_what_is_next():
    nothing = BrowseResult(Path("D.db"))
    assert (nothing.summary(), nothing.next_command) == ("Closed D.db: nothing was changed", "")
    some = BrowseResult(Path("a b/D.db"), {"edit": 2, "ask": 1})
    assert some.summary().startswith("Closed a b/D.db: 2 edited, 1 to be asked again; the same `sightwords describe`")
    assert some.next_command == "sightwords embed 'a b/D.db' --out 'a b/D-embeddings'"
