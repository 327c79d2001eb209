"""Options, and what is said before the page opens and after it was closed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sightwords.browsing.browse import BrowseResult
from sightwords.browsing.browse import browse as run
from sightwords.browsing.config import BrowseConfig
from sightwords.errors import ArtifactError, ConfigError, MissingExtraError


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(MissingExtraError, match=r"sightwords\[browse\]"):
        run(BrowseConfig(tmp_path / "D.db"))


def test_a_missing_set_is_an_error(tmp_path):
    pytest.importorskip("nicegui", reason="nicegui is not installed")
    with pytest.raises(ArtifactError, match="no description set"):
        run(BrowseConfig(tmp_path / "D.db", port=0))


def test_the_result_says_what_was_changed_and_what_is_next():
    nothing = BrowseResult(Path("D.db"))
    assert (nothing.summary(), nothing.next_command) == ("Closed D.db: nothing was changed", "")
    some = BrowseResult(Path("a b/D.db"), {"edit": 2, "ask": 1})
    assert some.summary().startswith("Closed a b/D.db: 2 edited, 1 to be asked again; run the same `sightwords")
    assert some.next_command == "sightwords embed 'a b/D.db' --out 'a b/D-embeddings'"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70_000}, "--port"),
        ({"port": -1}, "--port"),
        ({"name": " "}, "--name"),
        ({"images": "photos", "limit": 0}, "--limit"),
    ],
)
def test_what_is_not_allowed(options, message):
    with pytest.raises(ConfigError, match=message):
        BrowseConfig("D.db", **options)


def test_the_author_is_a_person(monkeypatch):
    monkeypatch.setenv("LOGNAME", "anna")
    assert BrowseConfig("D.db").author == "human:anna"
    assert BrowseConfig("D.db", name=" bob ").author == "human:bob"
