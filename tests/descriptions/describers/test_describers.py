"""How describers are found, and what they share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describe import describe
from sightwords.descriptions.describers import DESCRIBERS, make_describer
from sightwords.descriptions.describers.base import Decoding, Request
from sightwords.descriptions.describers.server import split_server
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError, MissingExtraError, ModelError, UnknownNameError


def make(describer: str, **options):
    return make_describer(DescribeConfig("photos", out=Path("d.db"), describer=describer, **options))


def test_each_kind_is_found_by_its_prefix(llava):
    assert make("class_name").info().identifier == "class_name"
    assert make(f"hf:{llava}", device="cpu").info().identifier == "hf:tiny-llava"
    assert make("server:m@http://localhost:1/v1").info().identifier == "server:m"
    assert make("server:m@http://localhost:1/v1,http://localhost:2/v1").info().identifier == "server:m"


OWN = """
from sightwords.descriptions.describers.base import Answer, Describer
from sightwords.descriptions.schema import DescriberInfo

class SizeDescriber(Describer):
    def __init__(self, name, config, sees_images):
        super().__init__(name, config, sees_images)
        self.unit = name

    def info(self):
        return DescriberInfo(f"size:{self.unit}", "none")

    def prepare(self, data, name):
        return len(data)

    def describe(self, requests, stopping):
        for request in requests:
            yield Answer(request, f"The file {request.name} has a size of {request.image} {self.unit}.")
"""


def test_a_describer_of_your_own_is_one_file_and_one_line(photos, tmp_path, monkeypatch):
    (tmp_path / "size_describer.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DESCRIBERS, "size:UNIT", "size_describer:SizeDescriber")
    result = describe(DescribeConfig(str(photos), out=tmp_path / "D.db", describer="size:bytes"))
    assert (result.num_ok, result.describer) == (5, "size:bytes")
    with DescriptionSet(tmp_path / "D.db") as store:
        texts = {row.text for row in store.descriptions()}
    file = photos / "train" / "bar" / "d.png"
    assert any("d.png" in text and f"{file.stat().st_size} bytes" in text for text in texts)


@pytest.mark.parametrize("describer", ["", "blip", "hf:", "server:", "HuggingFaceTB/SmolVLM-Instruct"])
def test_an_unknown_id_is_answered_with_the_known_forms(describer):
    with pytest.raises(UnknownNameError, match=r"hf:NAME_OR_FOLDER, server:MODEL@URL"):
        make(describer)


@pytest.mark.parametrize("describer", ["servr:m@https://me:hunter2@host/v1", "server:m@https://h/v1,me:hunter2@o/v1"])
def test_a_password_in_a_mistyped_id_is_not_repeated(describer):
    with pytest.raises(ConfigError) as caught:
        make(describer)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "rest", ["model", "model@localhost:8000", "@http://localhost", "m@http://", "m@http://a/v1,b:8000", "m@http://a,"]
)
def test_a_server_needs_model_and_urls(rest):
    with pytest.raises(ConfigError, match="server:MODEL@URL"):
        split_server(rest)


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


def request(key: str = "a" * 64, sample: int = 0, attempt: int = 0) -> Request:
    return Request(key, sample, attempt, "x.png", "bird", "What?", None)


def test_the_first_answer_is_greedy_and_seeds_are_functions_of_seed_key_sample_and_attempt():
    decoding = Decoding(temperature=0.7, seed=3)
    asked = [request(), request("b" * 64), request(sample=1), request(attempt=1)]
    assert [decoding.temperature_of(one) for one in asked] == [0.0, 0.0, 0.7, 0.7]
    seeds = [decoding.seed_of(one) for one in asked]
    assert len({*seeds, Decoding(seed=4).seed_of(asked[0])}) == 5
    assert seeds == [Decoding(seed=3).seed_of(one) for one in asked]
    assert all(0 <= seed < 2**31 for seed in seeds)
