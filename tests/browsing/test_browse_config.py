from __future__ import annotations

import pytest

from sightwords.browsing.config import BrowseConfig
from sightwords.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70_000}, "--port is 70000"),
        ({"port": -1}, "--port is -1"),
        ({"thumbnail_mb": 0}, "--thumbnail-mb is 0"),
        ({"name": " "}, "--name is empty"),
        ({"images": "photos", "limit": 0}, "--limit is 0"),
    ],
)
def test_what_is_not_allowed(options, message):
    with pytest.raises(ConfigError, match=message):
        BrowseConfig("D.db", **options)


def test_images_may_be_left_out():
    assert not BrowseConfig("D.db").has_images
    assert BrowseConfig("D.db", val="photos/val").has_images


def test_the_author_is_a_person(monkeypatch):
    monkeypatch.setenv("LOGNAME", "anna")
    assert BrowseConfig("D.db").author == "human:anna"
    assert BrowseConfig("D.db", name=" bob ").author == "human:bob"
