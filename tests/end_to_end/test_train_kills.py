"""Trainings that are killed with -9 at random instants and resumed end as if nothing had happened, bit by bit."""

from __future__ import annotations

import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sightwords.images.config import AugmentConfig, ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.models.run_folder import RunFolder
from sightwords.training.config import AlignConfig, TrainConfig
from support.texts import write_vectors
from support.trainings import Trainings

NUM_KILLS = {1: 8, 2: 2}  # by the number of processes


@pytest.fixture
def config(images, tmp_path) -> TrainConfig:
    """A training with everything that has a state or draws random numbers."""
    train_set = open_dataset(ImagesConfig(str(images)), show=False).split("train")
    return TrainConfig(
        str(images),
        out=tmp_path / "whole",
        embeddings=[write_vectors(tmp_path / "E", train_set, leave_out=2, per_image=3)],
        model="vit_tiny_patch16_224",
        model_kwargs={"depth": 1, "embed_dim": 32, "num_heads": 2, "patch_size": 8, "proj_drop_rate": 0.2},
        image_size=32,
        epochs=8,
        batch_size=8,
        accumulate=2,
        warmup_epochs=1,
        ema=0.9,
        checkpoint_every=1,
        align=AlignConfig(
            loss="sigmoid", weight=0.5, schedule="cosine", targets="whitened", learn_temperature=True, grad_cache=True,
        ),
        augment=AugmentConfig(randaugment=1, mixup=0.4, cutmix=1.0, erase=0.3),
        workers=1,
        device="cpu",
        resume=True,
    )  # fmt: skip


def state(folder: Path) -> dict[str, object]:
    """Everything that a finished training left, as what must be equal."""
    run = RunFolder(folder)
    saved = run.load_checkpoint()
    metrics = [{k: v for k, v in line.items() if k != "images_per_second"} for line in run.metrics()]
    return {"model": load_file(folder / "model.safetensors"), "metrics": metrics, **{
        name: saved[name] for name in ("task", "optimizer", "ema", "step", "sums")
    }}  # fmt: skip


def same(a: object, b: object) -> bool:
    """Whether two nests of tensors and values are equal, bit by bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2], ids=["one process", "two processes"])
def test_killed_and_resumed_trainings_equal_one_that_was_not(config, tmp_path, world_size):
    draw, num_kills, killed = random.Random(world_size), NUM_KILLS[world_size], 0
    num_runs = num_kept = 0
    with Trainings(tmp_path) as trainings:
        statuses, whole_s = trainings.train(config, world_size)
        assert statuses == {0}, trainings.errors()
        expected = state(config.out)
        again = replace(config, out=tmp_path / "again")
        while killed < num_kills or num_kept <= num_kills // 2:  # most runs go on from what a killed one left
            num_runs += 1
            assert num_runs < 10 * num_kills, f"{killed} kills, {num_kept} resumed"
            # the number of loader workers differs from run to run, and so does what is kept
            changed = replace(again, workers=draw.choice([0, 1, 2]), checkpoint_every=draw.choice([1, 1, 2]))
            is_kept = RunFolder(again.out).exists() and RunFolder(again.out).load_checkpoint() is not None
            num_kept += is_kept
            statuses, seconds = trainings.train(changed, world_size, draw.uniform(0.3, 0.9) * whole_s)
            killed += -signal.SIGKILL in statuses
            if statuses == {0}:
                # a machine that was busy before would never kill in time
                whole_s = whole_s if is_kept else min(whole_s, seconds)
                assert same(state(again.out), expected)
                shutil.rmtree(again.out)
            else:
                whole_s *= 1.05  # nor would one that is busy now let any checkpoint be written
                assert statuses <= {0, -signal.SIGKILL}, trainings.errors()
        assert trainings.train(again, world_size)[0] == {0}, trainings.errors()
    assert same(state(again.out), expected)
