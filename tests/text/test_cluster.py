"""Embedding on a Ray cluster of several nodes: the same vectors, whatever dies."""

from __future__ import annotations

import os
import random
import signal
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

from sightwords.cluster import Placement
from sightwords.text import cluster as cluster_module
from sightwords.text.cluster import RayEncoders, make_job
from support.ray_nodes import pids_of_workers, shared_nodes

WORDS = "a small red bird with long blue wings on the green tree near round stone under two clouds".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def nodes():
    return shared_nodes()


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
def test_the_set_is_that_of_a_single_process_though_a_worker_dies(nodes, tiny_st, descriptions, tmp_path, monkeypatch):
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
    on_ray = replace(config, ray_address=nodes.address)
    assert not run(on_ray).skipped
    assert killed
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
    assert run(on_ray).skipped


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
