"""Describing on a Ray cluster of several nodes: the same rows, whatever dies."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describe import describe as run
from sightwords.descriptions.schema import DescriberInfo
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError, ModelError
from sightwords.images.decode import decode_image
from sightwords.images.keys import image_key
from support.ask_server import never
from support.chat_server import chat, chat_server
from support.images import draw, write_class_folders

pytest.importorskip("ray")

import ray

from sightwords.cluster import Placement
from sightwords.descriptions.describers import DESCRIBERS, cluster, make_describer
from sightwords.descriptions.describers.base import Answer, Describer, Request
from sightwords.descriptions.describers.cluster import RayDescriber, make_job
from support.ray_nodes import pids_of_workers, shared_nodes

KEY = "sk-5b1d-seen-by-the-server-alone"


@pytest.fixture(scope="module")
def nodes():
    return shared_nodes()


def config_of(images: Path, out: Path, describer: str, **options) -> DescribeConfig:
    # tiny random models say nothing sensible: whatever they say is taken
    lenient = {"language": "any", "min_words": 1, "max_same": 1000, "device": "cpu", "max_new_tokens": 8}
    return DescribeConfig(str(images), out=out, describer=describer, **{**lenient, **options})


def requests_of(describer, num: int, size: int = 32):
    for n in range(num):
        data = drawing(n, size)
        yield Request(f"{n:064d}", 0, 0, f"{n}.png", "disc", "What?", describer.prepare(data, f"{n}.png"))


def drawing(n: int, size: int) -> bytes:
    buffer = io.BytesIO()
    draw("disc", n, size).save(buffer, "PNG")
    return buffer.getvalue()


def rows(path: Path) -> list[dict]:
    """Return all that a set says, without the times."""
    with DescriptionSet(path) as store:
        found = [asdict(row) for row in store.descriptions(None)]
        who = (store.prompts(), store.describers())
    changing = {"seconds", "created_at"}
    plain = [{name: value for name, value in row.items() if name not in changing} for row in found]
    return [who, sorted(plain, key=lambda row: (row["key"], row["sample"]))]


@pytest.mark.slow
def test_the_rows_are_those_of_a_single_process(nodes, llava, photos, tmp_path):
    write_class_folders(tmp_path / "more", num_train=2, num_val=0)
    for path in (tmp_path / "more" / "train").rglob("*.png"):
        path.rename(photos / "train" / "bar" / f"{path.parent.name}-{path.name}")
    whole = (photos / "train" / "bar" / "e.jpg").read_bytes()
    (photos / "train" / "bar" / "cut.jpg").write_bytes(whole[:-300])
    common = {"batch_size": 1, "samples": 2}
    run(config_of(photos, tmp_path / "local.db", f"hf:{llava}", **common))
    on_ray = {"engine": "ray", "ray_address": nodes.address, **common}
    run(config_of(photos, tmp_path / "ray.db", f"hf:{llava}", **on_ray))
    found = rows(tmp_path / "ray.db")
    assert found == rows(tmp_path / "local.db")
    assert len({(row["key"], row["sample"]) for row in found[1]}) == 24
    assert {row["reason"][:25] for row in found[1] if row["status"] == "failed"} == {"unreadable image: damaged"}
    assert any(row["num_text_tokens"] for row in found[1])


@pytest.mark.slow
def test_a_worker_and_a_node_die_midway_and_ray_keeps_no_api_key(nodes, tmp_path, monkeypatch):
    images = write_class_folders(tmp_path / "images", num_train=40, num_val=0)
    monkeypatch.setenv("SIGHTWORDS_API_KEY", KEY)

    def answer(call):
        if len(server.calls) == 20:
            os.kill(pids_of_workers()[0], signal.SIGKILL)
        if len(server.calls) == 60:
            working = [entry["NodeID"] for entry in ray.nodes() if entry["Alive"] and entry["Resources"].get("CPU")]
            nodes.remove(working[0])
        time.sleep(0.1)
        return chat(f"An image with the fingerprint {hashlib.sha256(call.image).hexdigest()} lies here.")

    with chat_server(answer) as server:
        config = config_of(images, tmp_path / "d.db", f"server:tiny@{server.url}", engine="ray", concurrency=8)
        result = run(replace(config, ray_address=nodes.address))
    nodes.add()
    texts = {key_of(path): f"fingerprint {key_of(path)}" for path in images.rglob("*.png")}
    found = rows(tmp_path / "d.db")[1]
    assert sorted(row["key"] for row in found) == sorted(texts)  # none is lost, none is there twice
    assert all(texts[row["key"]] in row["text"] and row["status"] == "ok" for row in found)
    assert result.num_ok == 120
    assert len(server.calls) <= 120 + 4 * 8  # only what was in flight was asked again
    assert {call.headers["authorization"] for call in server.calls} == {f"Bearer {KEY}"}
    files = [path for path in nodes.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.stat().st_size for path in files)
    assert not [path for path in [*files, tmp_path / "d.db"] if KEY.encode() in path.read_bytes()]


def key_of(path: Path) -> str:
    return image_key(path.read_bytes())


def test_info_and_errors_are_those_of_the_describer_itself(llava, photos, tmp_path):
    local = config_of(photos, tmp_path / "d.db", f"hf:{llava}")
    describer = make_describer(replace(local, engine="ray"))
    assert isinstance(describer, RayDescriber)
    assert describer.info() == make_describer(local).info()
    with pytest.raises(ConfigError, match="use --samples 1"):
        make_describer(replace(local, describer="class_name", samples=2, engine="ray"))


def test_a_node_takes_its_own_gpu_and_its_part_of_the_requests(llava, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "make_describer", lambda config, sees_images: made.append(config) or describer)
    made: list[DescribeConfig] = []
    config = config_of(photos, tmp_path / "d.db", f"hf:{llava}", engine="ray", device="cuda:3", concurrency=100)
    describer = make_describer(replace(config, engine="local", device="cpu"))
    make_job(Placement(3, 1, 1), config, True, describer.info())
    make_job(Placement(1, 4, 0), replace(config, device="cpu"), True, describer.info())
    assert [(one.device, one.engine, one.concurrency) for one in made] == [("auto", "local", 34), ("cpu", "local", 100)]


def test_another_model_under_the_same_name_is_refused(llava, photos, tmp_path):
    config = config_of(photos, tmp_path / "d.db", f"hf:{llava}")
    info = make_describer(config).info()
    assert make_job(Placement(1, 1, 0), config, True, info)
    with pytest.raises(ModelError, match=rf"not the same model here.*revision {info.revision} instead of abc"):
        make_job(Placement(1, 1, 0), config, True, replace(info, revision="abc"))


class Sizes(Describer):
    """Tells the size of an image; a stand-in for a model that looks at it."""

    def info(self):
        return DescriberInfo("sizes", "none")

    def prepare(self, data, name):
        return decode_image(data, name).size

    def describe(self, requests, stopping):
        for request in requests:
            yield Answer(request, f"{request.name} is {request.image[0]} pixels wide")


def test_a_job_reports_the_unreadable_and_sends_no_image_back(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(DESCRIBERS, "sizes", f"{__name__}:Sizes")
    config = config_of(photos, tmp_path / "d.db", "sizes")
    job = make_job(Placement(1, 1, 0), config, True, make_describer(config).info())
    asked = list(requests_of(RayDescriber(replace(config, engine="ray")), 3))
    asked[1] = replace(asked[1], image=b"no image")
    asked.append(replace(asked[0], sample=1))
    found = dict(job(asked, never))
    wide = "{}.png is 32 pixels wide".format
    assert [found[i].text for i in range(4)] == [wide(0), "", wide(2), wide(0)]
    assert (found[1].status, found[1].reason[:23]) == ("failed", "unreadable image: not a")
    assert {answer.request.image for answer in found.values()} == {None}
