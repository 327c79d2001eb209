"""Embedding on a Ray cluster that is started for it: the same vectors, whatever dies."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError, ModelError
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import embed as run
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.text.encoders import open_encoder

pytest.importorskip("ray")

import ray

from sightwords.cluster import Placement
from sightwords.text import cluster as cluster_module
from sightwords.text.cluster import RayEncoders, make_job
from support.ray_nodes import pids_of_workers

WORDS = "a small red bird with long blue wings on the green tree near round stone under two clouds".split()  # noqa: SIM905


@pytest.fixture
def no_cluster(monkeypatch):
    """Have Ray find no cluster, so that it starts one, in a folder of its own."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    with tempfile.TemporaryDirectory(prefix="sw-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.fixture
def handler():
    """A handler of SIGTERM, as a program of the user's may have one."""

    def handle(*_):
        pass

    before = signal.signal(signal.SIGTERM, handle)
    yield handle
    signal.signal(signal.SIGTERM, before)


def texts(num: int, longest: int = 30) -> list[str]:
    draw = random.Random(0)
    return [f"{n} " + " ".join(draw.choices(WORDS, k=draw.randint(1, longest))) for n in range(num)]


@pytest.fixture
def descriptions(tmp_path) -> Path:
    """A set of 150 texts, most of them longer than the tiny encoder's limit."""
    path = tmp_path / "d.db"
    with DescriptionSet(path, create=True) as store:
        place = store.add_prompt(Prompt("plain", 1, "Describe.")), store.add_describer(DescriberInfo("m", "m"))
        store.put(Description(f"{i:064d}", *place, 0, text, "ok") for i, text in enumerate(texts(150)))
    return path


@pytest.mark.slow
def test_the_set_is_that_of_a_single_process_though_a_worker_dies(
    no_cluster, handler, tiny_st, descriptions, tmp_path, monkeypatch
):
    killed: list[int] = []
    encode = RayEncoders.encode

    def killing(*args):
        for number, result in enumerate(encode(*args)):
            if number == 10 and not killed:
                killed.append(pids_of_workers()[0])
                os.kill(killed[0], signal.SIGKILL)
            yield result

    monkeypatch.setattr(RayEncoders, "encode", killing)
    monkeypatch.setattr(cluster_module, "_CHUNK_TOKENS", 64)
    monkeypatch.chdir(tiny_st.parent)  # where workers find it, too
    encoder = f"st:{tiny_st.name}"
    config = EmbedConfig(descriptions, out=tmp_path / "ray", encoder=encoder, engine="ray", batch_size=4)
    assert not run(config).skipped
    assert killed
    assert not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) is handler  # Ray has one of its own
    ray_set = EmbeddingSet(tmp_path / "ray")
    assert ray_set.meta["trial"] is None or ray_set.meta["trial"]["num_texts"] == 64  # tried on a worker

    precision = ray_set.meta["precision"]
    run(replace(config, out=tmp_path / "local", device="cpu", engine="local", precision=precision))
    local_set = EmbeddingSet(tmp_path / "local")
    assert np.array_equal(local_set.vectors, ray_set.vectors)
    assert np.array_equal(local_set.mean, ray_set.mean)
    assert local_set.index().equals(ray_set.index())
    apart = {"created_at": "", "precision_asked": "", "trial": None}
    assert {**local_set.meta, **apart} == {**ray_set.meta, **apart}
    assert run(config).skipped


def test_another_encoder_under_the_same_name_is_refused(tiny_st):
    name, placement = f"st:{tiny_st}", Placement(1, 1, 0)
    info = open_encoder(name, "cpu", "fp32").info
    assert make_job(placement, name, replace(info, device="cuda", precision="bf16"))
    with pytest.raises(ModelError, match=f"not the same model here.*revision {info.revision} instead of abc"):
        make_job(placement, name, replace(info, revision="abc"))


def test_the_options_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="--ray-workers is 0"):
        EmbedConfig(tmp_path / "d.db", out=tmp_path / "e", ray_workers=0)
    with pytest.raises(ConfigError, match="--engine is 'spark'; it must be local or ray"):
        EmbedConfig(tmp_path / "d.db", out=tmp_path / "e", engine="spark")
