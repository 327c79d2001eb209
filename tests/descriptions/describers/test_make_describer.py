from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describers import make_describer, split_server
from sightwords.errors import ConfigError, MissingExtraError, ModelError, UnknownNameError


def make(describer: str, **options):
    return make_describer(DescribeConfig("photos", out=Path("d.db"), describer=describer, **options))


def test_each_kind_is_found_by_its_prefix(llava):
    assert make("demo").info().identifier == "demo"
    assert make(f"hf:{llava}", device="cpu").info().identifier == "hf:tiny-llava"
    assert make("server:m@http://localhost:1/v1").info().identifier == "server:m"
    assert make("server:m@http://localhost:1/v1,http://localhost:2/v1").info().identifier == "server:m"


@pytest.mark.parametrize("describer", ["", "blip", "hf:", "server:", "HuggingFaceTB/SmolVLM-Instruct", "demo:x"])
def test_an_unknown_id_is_answered_with_the_known_forms(describer):
    with pytest.raises(
        UnknownNameError, match=r"hf:NAME_OR_FOLDER, server:MODEL@URL\[,URL\.\.\.\], class_name or demo"
    ):
        make(describer)


def test_a_password_in_a_mistyped_id_is_not_repeated():
    with pytest.raises(UnknownNameError) as caught:
        make("servr:m@https://me:hunter2@host/v1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "rest",
    [
        "model",
        "model@",
        "model@localhost:8000",
        "@http://localhost",
        "m@http://",
        "m@http://a/v1,b:8000",
        "m@http://a,",
    ],
)
def test_a_server_needs_model_and_urls(rest):
    with pytest.raises(ConfigError, match="server:MODEL@URL"):
        split_server(rest)


def test_a_password_in_a_bad_list_of_servers_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        make("server:m@https://me:hunter2@host/v1,me:hunter2@other/v1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("rest", "urls"),
    [
        ("https://h:8/v1", ["https://h:8/v1"]),
        ("http://a/v1,https://b:1/v1", ["http://a/v1", "https://b:1/v1"]),
        ("http://a/v1?key=x,y,http://b/v1", ["http://a/v1?key=x,y", "http://b/v1"]),
    ],
)
def test_several_servers_are_separated_by_commas(rest, urls):
    assert split_server(f"org/m@v2@{rest}") == ("org/m@v2", urls)


def test_the_demo_has_one_description_of_an_image():
    with pytest.raises(ConfigError, match="--samples 1"):
        make("demo", samples=2)


@pytest.mark.parametrize(
    ("describer", "library", "extra"),
    [("hf:some/model", "transformers", "describe"), ("server:m@http://h/v1", "aiohttp", "server")],
)
def test_a_missing_library_names_its_extra(describer, library, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    for name in ("endpoint", "server"):  # imported once more, as in a process without the library
        monkeypatch.delitem(sys.modules, f"sightwords.descriptions.describers.{name}", raising=False)
    with pytest.raises(MissingExtraError, match=rf"sightwords\[{extra}\]"):
        make(describer, device="cpu")


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(ModelError, match="no folder /nowhere/model"):
        make("hf:/nowhere/model")
